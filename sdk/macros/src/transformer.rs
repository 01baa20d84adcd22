//! `#[transformer]`: checks the function's shape, asserts its types, and exports it as a component in Wasm builds.

use proc_macro2::TokenStream;
use quote::{format_ident, quote, quote_spanned};
use syn::{
    Error, FnArg, ItemFn, LitStr, ReturnType, Signature, Type, ext::IdentExt as _, meta, parse::Parser as _,
    spanned::Spanned as _,
};

use crate::description;

pub(crate) fn expand(arguments: TokenStream, item: TokenStream) -> syn::Result<TokenStream> {
    let title = given_title(arguments)?;
    let span = item.clone();
    let function: ItemFn =
        syn::parse2(item).map_err(|_| Error::new_spanned(&span, "`#[transformer]` goes on a function"))?;
    let types = argument_types(&function.sig)?;
    let summary = description::of(&function.attrs);
    let title = title.unwrap_or_else(|| title_of(&function.sig.ident.unraw().to_string()));
    let assertions = assertions(&function.sig, &types);
    let export = export(&function.sig, &title, &summary);
    Ok(quote! {
        // The contract wants values and a result, also of a function that could do without.
        #[allow(clippy::needless_pass_by_value, clippy::unnecessary_wraps)]
        #function
        #assertions
        #export
    })
}

fn given_title(arguments: TokenStream) -> syn::Result<Option<String>> {
    let mut title: Option<LitStr> = None;
    let parser = meta::parser(|meta| {
        if !meta.path.is_ident("title") {
            return Err(meta.error("expected `title`, as in `#[transformer(title = \"HTTP request\")]`"));
        }
        title = Some(meta.value()?.parse()?);
        Ok(())
    });
    parser.parse2(arguments)?;
    Ok(title.map(|title| title.value()))
}

/// `http_request` reads `Http request`.
fn title_of(function: &str) -> String {
    let words = function.replace('_', " ");
    let mut letters = words.trim().chars();
    letters.next().map(|first| first.to_uppercase().chain(letters).collect()).unwrap_or_default()
}

/// The types of one or two arguments, of a function that can be called with nothing else. All mistakes at once.
fn argument_types(signature: &Signature) -> syn::Result<Vec<&Type>> {
    let mistakes = function_mistakes(signature).into_iter().chain(argument_mistakes(signature));
    let all = mistakes.reduce(|mut all, mistake| {
        all.combine(mistake);
        all
    });
    all.map_or_else(|| Ok(types(signature)), Err)
}

fn types(signature: &Signature) -> Vec<&Type> {
    let typed = signature.inputs.iter().filter_map(|argument| match argument {
        FnArg::Typed(typed) => Some(&*typed.ty),
        FnArg::Receiver(_) => None,
    });
    typed.collect()
}

fn function_mistakes(signature: &Signature) -> Vec<Error> {
    let mut mistakes = Vec::new();
    if let Some(found) = &signature.asyncness {
        mistakes.push(Error::new_spanned(found, "a transformer is not async: calls to the host simply wait"));
    }
    if let Some(found) = &signature.unsafety {
        mistakes.push(Error::new_spanned(found, "a transformer is called by the host and cannot be unsafe"));
    }
    if let Some(found) = &signature.abi {
        mistakes.push(Error::new_spanned(found, "a transformer is an ordinary Rust function; the macro exports it"));
    }
    if !signature.generics.params.is_empty() {
        let found = &signature.generics;
        mistakes.push(Error::new_spanned(found, "a transformer takes no generics: its ports have fixed types"));
    }
    if matches!(signature.output, ReturnType::Default) {
        let expected = "a transformer returns a result: `-> Result<Out<Output>>`, or `-> Result<()>` without outputs";
        mistakes.push(Error::new_spanned(&signature.ident, expected));
    }
    mistakes
}

fn argument_mistakes(signature: &Signature) -> Vec<Error> {
    const EXPECTED: &str = "a transformer takes its input and, if it has one, its config: \
                            `fn name(input: Input, config: Config) -> Result<Out<Output>>`";
    let mut mistakes: Vec<Error> = signature.inputs.iter().filter_map(argument_mistake).collect();
    match signature.inputs.get(2) {
        Some(third) => mistakes.push(Error::new_spanned(third, EXPECTED)),
        None if signature.inputs.is_empty() => mistakes.push(Error::new_spanned(&signature.ident, EXPECTED)),
        None => {}
    }
    mistakes
}

fn argument_mistake(argument: &FnArg) -> Option<Error> {
    let FnArg::Typed(typed) = argument else {
        return Some(Error::new_spanned(argument, "a transformer is a free function, without `self`"));
    };
    match &*typed.ty {
        Type::Reference(found) => {
            Some(Error::new_spanned(found, "a transformer takes its arguments by value: leave out the `&`"))
        }
        Type::ImplTrait(found) => Some(Error::new_spanned(found, "a transformer's ports have fixed types: name one")),
        _ => None,
    }
}

/// Code that does nothing but fail to compile, at the place of the type, when a type does not fit. It also keeps a private
/// function from being reported as unused in native builds.
fn assertions(signature: &Signature, types: &[&Type]) -> TokenStream {
    let name = &signature.ident;
    let input = types[0];
    let input_fits = quote_spanned! { input.span() => ::trellis_sdk::expansion::assert_input::<#input>(); };
    let config_fits = types.get(1).map(|config| {
        quote_spanned! { config.span() => ::trellis_sdk::expansion::assert_config::<#config>(); }
    });
    let output = match &signature.output {
        ReturnType::Type(_, output) => output.span(),
        ReturnType::Default => name.span(),
    };
    let arguments: Vec<_> = (0..types.len()).map(|place| format_ident!("argument_{place}")).collect();
    let mut called = name.clone();
    called.set_span(output);
    let output_fits = quote_spanned! { output => ::trellis_sdk::expansion::assert_output(#called(#( #arguments ),*)) };
    quote! {
        const _: fn() = || {
            #input_fits
            #config_fits
            let _ = |#( #arguments: #types ),*| #output_fits;
        };
    }
}

fn export(signature: &Signature, title: &str, summary: &str) -> TokenStream {
    let name = &signature.ident;
    quote! {
        #[cfg(target_family = "wasm")]
        const _: () = {
            use ::trellis_sdk::guest;

            struct Component;

            impl guest::Guest for Component {
                fn describe() -> ::std::string::String {
                    guest::describe(&#name, #title, #summary)
                }

                fn transform(
                    event: guest::Event,
                    config: ::std::string::String,
                ) -> ::core::result::Result<::std::vec::Vec<guest::Emission>, guest::Failure> {
                    guest::transform(&#name, event, &config)
                }
            }

            guest::export!(Component with_types_in guest::bindings);
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::refusals;

    fn refused(item: TokenStream) -> String {
        refusals(expand(TokenStream::new(), item)).join("; ")
    }

    #[test]
    fn the_title_is_given_or_follows_from_the_name() {
        assert_eq!(title_of("http_request"), "Http request");
        assert_eq!(given_title(quote!(title = "HTTP request")).expect("a title").as_deref(), Some("HTTP request"));
        assert_eq!(given_title(TokenStream::new()).expect("no title"), None);
        let mistake = given_title(quote!(name = "x")).expect_err("an unknown argument").to_string();
        assert!(mistake.contains("expected `title`"), "{mistake}");
    }

    #[test]
    fn one_or_two_arguments_are_accepted() {
        for item in
            [quote! { fn f(a: A) -> Result<Out<B>> { g() } }, quote! { pub fn f(mut a: A, _: C) -> Result<()> { g() } }]
        {
            expand(TokenStream::new(), item).expect("a transformer");
        }
    }

    #[test]
    fn what_is_no_transformer_is_refused_with_what_to_write() {
        for (item, expected) in [
            (quote! { struct S; }, "goes on a function"),
            (quote! { fn f() -> Result<()> {} }, "takes its input and"),
            (quote! { fn f(a: A, b: B, c: C) -> Result<()> {} }, "takes its input and"),
            (quote! { fn f(a: A) {} }, "`-> Result<Out<Output>>`"),
            (quote! { fn f(a: &A) -> Result<()> {} }, "leave out the `&`"),
            (quote! { fn f(a: impl X) -> Result<()> {} }, "name one"),
            (quote! { fn f(&self) -> Result<()> {} }, "without `self`"),
            (quote! { async fn f(a: A) -> Result<()> {} }, "not async"),
            (quote! { unsafe fn f(a: A) -> Result<()> {} }, "cannot be unsafe"),
            (quote! { extern "C" fn f(a: A) -> Result<()> {} }, "ordinary Rust function"),
            (quote! { fn f<T>(a: T) -> Result<()> {} }, "no generics"),
        ] {
            let message = refused(item);
            assert!(message.contains(expected), "{message}");
        }
    }

    #[test]
    fn all_mistakes_are_reported_at_once() {
        let refusals = refusals(expand(TokenStream::new(), quote! { async fn f<T>(a: &T, b: B, c: C) {} }));
        assert_eq!(refusals.len(), 5, "{refusals:?}");
    }
}
