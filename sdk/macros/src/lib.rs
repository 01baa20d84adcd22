//! The macros of trellis-sdk, which documents them with examples: use them from there.
//!
//! They turn a function and its types into implementations of the SDK's traits and refuse, at the place, what cannot be
//! one. They do not know the contract with the host: that is the SDK's, which their output names by `::trellis_sdk`.
#![deny(missing_docs)]

mod data;
mod inputs;
mod ports;
mod transformer;

mod description;
mod port_name;

use proc_macro::TokenStream;

/// Makes a component of a function.
#[proc_macro_attribute]
pub fn transformer(arguments: TokenStream, item: TokenStream) -> TokenStream {
    finish(transformer::expand(arguments.into(), item.into()))
}

/// Makes a struct or enum readable and writable as JSON, with a JSON Schema.
#[proc_macro_attribute]
pub fn data(arguments: TokenStream, item: TokenStream) -> TokenStream {
    finish(data::expand(&arguments.into(), item.into()))
}

/// Makes an input port of each field of a struct.
#[proc_macro_attribute]
pub fn inputs(arguments: TokenStream, item: TokenStream) -> TokenStream {
    finish(inputs::expand(&arguments.into(), item.into()))
}

/// Makes an output port of each variant of an enum.
#[proc_macro_derive(Ports, attributes(port))]
pub fn ports(item: TokenStream) -> TokenStream {
    finish(ports::expand(item.into()))
}

fn finish(expansion: syn::Result<proc_macro2::TokenStream>) -> TokenStream {
    expansion.unwrap_or_else(|error| error.to_compile_error()).into()
}

/// Expects an expansion to be refused, and gives the messages.
#[cfg(test)]
fn refusals(expansion: syn::Result<proc_macro2::TokenStream>) -> Vec<String> {
    let error = expansion.map(|tokens| tokens.to_string()).expect_err("the expansion is refused");
    error.into_iter().map(|error| error.to_string()).collect()
}
