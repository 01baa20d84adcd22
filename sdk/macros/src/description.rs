//! Doc comments as descriptions.

use syn::{Attribute, Expr, ExprLit, Lit, Meta};

/// The first paragraph of a doc comment on one line; empty without one.
pub(crate) fn of(attributes: &[Attribute]) -> String {
    let lines = attributes.iter().filter_map(doc_line);
    let trimmed = lines.flat_map(|text| text.lines().map(|line| line.trim().to_owned()).collect::<Vec<_>>());
    let paragraph = trimmed.skip_while(String::is_empty).take_while(|line| !line.is_empty());
    paragraph.collect::<Vec<_>>().join(" ")
}

fn doc_line(attribute: &Attribute) -> Option<String> {
    let Meta::NameValue(doc) = &attribute.meta else { return None };
    match &doc.value {
        // An empty line of the comment is an empty text here, and ends a paragraph.
        Expr::Lit(ExprLit { lit: Lit::Str(text), .. }) if doc.path.is_ident("doc") => {
            Some(format!("{}\n", text.value()))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_paragraph_is_joined() {
        let item: syn::ItemFn = syn::parse_quote! {
            ///
            /// Multiplies a
            ///   reading.
            #[allow(dead_code)]
            ///
            /// At length.
            fn f() {}
        };
        assert_eq!(of(&item.attrs), "Multiplies a reading.");
    }

    #[test]
    fn a_block_comment_is_read_too() {
        let item: syn::ItemFn = syn::parse_quote! {
            #[doc = "One\ntwo.\n\nThree."]
            fn f() {}
        };
        assert_eq!(of(&item.attrs), "One two.");
    }

    #[test]
    fn no_comment_is_no_description() {
        assert_eq!(of(&[]), "");
    }
}
