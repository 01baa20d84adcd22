//! `#[derive(Ports)]`: an enum whose variants are output ports.

use proc_macro2::TokenStream;
use quote::{quote, quote_spanned};
use syn::{Data, DeriveInput, Error, Fields, Type, Variant, spanned::Spanned as _};

use crate::{description, port_name};

pub(crate) fn expand(item: TokenStream) -> syn::Result<TokenStream> {
    let item: DeriveInput = syn::parse2(item)?;
    let Data::Enum(data) = &item.data else {
        return Err(Error::new_spanned(&item.ident, "`Ports` is derived for an enum: each variant is an output port"));
    };
    if !item.generics.params.is_empty() {
        return Err(Error::new_spanned(
            &item.generics,
            "the ports of a transformer are fixed: `Ports` takes no generics",
        ));
    }
    if data.variants.is_empty() {
        return Err(Error::new_spanned(
            &item.ident,
            "an enum without variants has no ports; return `()` to emit nothing",
        ));
    }

    let (mut names, mut idents, mut types, mut descriptions) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    for variant in &data.variants {
        names.push(port_name::of_variant(&variant.ident, &variant.attrs)?);
        types.push(only_value(variant)?);
        idents.push(&variant.ident);
        descriptions.push(description::of(&variant.attrs));
    }
    port_name::check_distinct(&names)?;

    let name = &item.ident;
    let declared = types.iter().map(|port| quote_spanned! { port.span() => add::<#port> });
    let ports: Vec<&str> = names.iter().map(|port| port.text.as_str()).collect();
    Ok(quote! {
        impl ::trellis_sdk::Ports for #name {}

        impl ::trellis_sdk::Output for #name {
            fn declare(ports: &mut ::trellis_sdk::expansion::OutputPorts) {
                #( ports.#declared(#ports, #descriptions); )*
            }

            fn emit(self, emissions: &mut ::trellis_sdk::expansion::Emissions) -> ::trellis_sdk::Result<()> {
                match self {
                    #( Self::#idents(value) => emissions.push(#ports, &value), )*
                }
            }
        }
    })
}

fn only_value(variant: &Variant) -> syn::Result<&Type> {
    match &variant.fields {
        Fields::Unnamed(fields) if fields.unnamed.len() == 1 => Ok(&fields.unnamed[0].ty),
        _ => {
            let name = &variant.ident;
            let message =
                format!("a port carries one value: write `{name}(Value)` with the value's type, `{name}(())` for null");
            Err(Error::new_spanned(variant, message))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::refusals;

    fn refused(item: TokenStream) -> String {
        refusals(expand(item)).join("; ")
    }

    #[test]
    fn variants_are_ports_by_their_snake_case_or_given_name() {
        let item = quote! { enum Verdict { OverLimit(u8), #[port(name = "dead-letter")] Dead(String) } };
        let expanded = expand(item).expect("an enum").to_string();
        assert!(expanded.contains("\"over_limit\"") && expanded.contains("\"dead-letter\""), "{expanded}");
    }

    #[test]
    fn a_variant_without_exactly_one_value_is_refused() {
        for item in [quote! { enum E { A } }, quote! { enum E { A(u8, u8) } }, quote! { enum E { A { b: u8 } } }] {
            assert!(refused(item).contains("write `A(Value)`"));
        }
    }

    #[test]
    fn other_items_are_refused() {
        assert!(refused(quote! { struct S(u8); }).contains("derived for an enum"));
        assert!(refused(quote! { enum E {} }).contains("has no ports"));
        assert!(refused(quote! { enum E<T> { A(T) } }).contains("no generics"));
    }

    #[test]
    fn two_ports_with_one_name_are_refused() {
        assert!(refused(quote! { enum E { AB(u8), Ab(u8) } }).contains("second port named `ab`"));
    }
}
