//! `#[data]`: the derives of serde and schemars, by the SDK's own copies of these crates.

use proc_macro2::TokenStream;
use quote::{ToTokens as _, quote};
use syn::{DeriveInput, Error};

pub(crate) fn expand(arguments: &TokenStream, item: TokenStream) -> syn::Result<TokenStream> {
    if !arguments.is_empty() {
        return Err(Error::new_spanned(
            arguments,
            "`#[data]` takes no arguments; `#[serde(…)]` attributes work below it",
        ));
    }
    let span = item.clone();
    let item: DeriveInput =
        syn::parse2(item).map_err(|_| Error::new_spanned(&span, "`#[data]` goes on a struct or an enum"))?;
    if let syn::Data::Union(union) = &item.data {
        return Err(Error::new_spanned(
            union.union_token,
            "`#[data]` goes on a struct or an enum: a union has no JSON form",
        ));
    }
    let item = item.to_token_stream();
    Ok(quote! {
        #[derive(
            ::trellis_sdk::expansion::Deserialize,
            ::trellis_sdk::expansion::Serialize,
            ::trellis_sdk::expansion::JsonSchema,
        )]
        #[serde(crate = "::trellis_sdk::expansion::serde")]
        #[schemars(crate = "::trellis_sdk::expansion::schemars")]
        #item
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::refusals;

    #[test]
    fn the_users_own_attributes_stay() {
        let item =
            quote! { #[derive(Debug)] #[serde(rename_all = "camelCase")] struct Order { line_items: Vec<String> } };
        let expanded = expand(&TokenStream::new(), item).expect("a struct").to_string();
        assert!(expanded.contains("rename_all") && expanded.contains("derive (Debug)"), "{expanded}");
    }

    #[test]
    fn other_items_are_refused() {
        for item in [quote! { fn f() {} }, quote! { union U { a: u8, b: i8 } }, quote! { mod m {} }] {
            let refusals = refusals(expand(&TokenStream::new(), item));
            assert!(refusals[0].contains("goes on a struct or an enum"), "{refusals:?}");
        }
    }

    #[test]
    fn arguments_are_refused() {
        let refusals = refusals(expand(&quote!(strict), quote! { struct S; }));
        assert!(refusals[0].contains("takes no arguments"), "{refusals:?}");
    }
}
