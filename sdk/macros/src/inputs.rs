//! `#[inputs]`: a struct whose fields are input ports.

use proc_macro2::TokenStream;
use quote::{quote, quote_spanned};
use syn::{Error, Fields, ItemStruct, spanned::Spanned as _};

use crate::{description, port_name};

pub(crate) fn expand(arguments: &TokenStream, item: TokenStream) -> syn::Result<TokenStream> {
    const EXPECTED: &str = "`#[inputs]` goes on a struct with named fields, one for each input port";
    if !arguments.is_empty() {
        return Err(Error::new_spanned(arguments, "`#[inputs]` takes no arguments"));
    }
    let span = item.clone();
    let mut item: ItemStruct = syn::parse2(item).map_err(|_| Error::new_spanned(&span, EXPECTED))?;
    if !item.generics.params.is_empty() {
        return Err(Error::new_spanned(
            &item.generics,
            "the ports of a transformer are fixed: `#[inputs]` takes no generics",
        ));
    }
    let Fields::Named(fields) = &mut item.fields else { return Err(Error::new_spanned(&item, EXPECTED)) };

    let (mut names, mut idents, mut types, mut descriptions) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    for field in &mut fields.named {
        let ident = field.ident.clone().expect("a named field has a name");
        names.push(port_name::of_field(&ident, &field.attrs)?);
        field.attrs.retain(|attribute| !port_name::is_port(attribute));
        descriptions.push(description::of(&field.attrs));
        types.push(field.ty.clone());
        idents.push(ident);
    }
    port_name::check_distinct(&names)?;

    let name = &item.ident;
    let declared = types.iter().map(|port| quote_spanned! { port.span() => add::<#port> });
    let ports: Vec<&str> = names.iter().map(|port| port.text.as_str()).collect();
    let taken = types.iter().zip(&ports).map(|(port, name)| quote_spanned! { port.span() => values.take(#name) });
    Ok(quote! {
        #item

        impl ::trellis_sdk::Input for #name {
            fn declare(ports: &mut ::trellis_sdk::expansion::InputPorts) {
                #( ports.#declared(#ports, #descriptions); )*
            }

            fn read(values: &mut ::trellis_sdk::expansion::InputValues) -> ::trellis_sdk::Result<Self> {
                let inputs = Self { #( #idents: #taken? ),* };
                values.end(&[#( #ports ),*])?;
                ::core::result::Result::Ok(inputs)
            }
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::refusals;

    fn refused(item: TokenStream) -> String {
        refusals(expand(&TokenStream::new(), item)).join("; ")
    }

    #[test]
    fn fields_are_ports_by_their_plain_or_given_name() {
        let item = quote! { struct In { r#type: String, #[port(name = "line-items")] items: Vec<String> } };
        let expanded = expand(&TokenStream::new(), item).expect("a struct").to_string();
        assert!(expanded.contains("\"type\"") && expanded.contains("\"line-items\""), "{expanded}");
        assert!(!expanded.contains("port (name"), "the attribute is ours and must not stay: {expanded}");
    }

    #[test]
    fn other_items_are_refused() {
        for item in [quote! { enum E { A } }, quote! { struct S; }, quote! { struct S(u8); }, quote! { fn f() {} }] {
            assert!(refused(item).contains("a struct with named fields"));
        }
    }

    #[test]
    fn generics_are_refused() {
        assert!(refused(quote! { struct In<T> { a: T } }).contains("no generics"));
    }

    #[test]
    fn two_ports_with_one_name_are_refused() {
        assert!(refused(quote! { struct In { a: u8, #[port(name = "a")] b: u8 } }).contains("second port named `a`"));
    }

    #[test]
    fn a_port_attribute_says_what_it_expects() {
        assert!(refused(quote! { struct In { #[port(nmae = "a")] b: u8 } }).contains("expected `name`"));
        assert!(refused(quote! { struct In { #[port(name = "a b")] b: u8 } }).contains("cannot be the name of a port"));
        assert!(refused(quote! { struct In { _a: u8 } }).contains("a letter first"));
    }
}
