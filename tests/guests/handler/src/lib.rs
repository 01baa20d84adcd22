//! A guest as somebody would have written it for any host of `wasi:http`: it answers requests with `wstd`, counts visitors in
//! `wasi:keyvalue`, and asks other services with the client of `wstd`. It knows nothing of Trellis.
#![cfg(target_family = "wasm")]
#![allow(unsafe_code, reason = "what the macros expand to")]

use wstd::http::{Body, Client, Error, Request, Response, StatusCode};

#[allow(clippy::all, unused_qualifications, reason = "generated from the WIT")]
mod bindings {
    wit_bindgen::generate!({
        inline: "
            package tests:handler;
            world visits {
                import wasi:keyvalue/store@0.2.0-draft2;
                import wasi:keyvalue/atomics@0.2.0-draft2;
            }
        ",
        path: "../../../wit",
        generate_all,
    });
}

use bindings::wasi::keyvalue::{atomics, store};

#[wstd::http_server]
async fn main(request: Request<Body>) -> Result<Response<Body>, Error> {
    match request.uri().path() {
        "/visits" => visits(),
        "/echo" => echo(request).await,
        "/forward" => forward(request).await,
        "/large" => Ok(Response::new("x".repeat(query_number(&request)).into())),
        "/bytes" => Ok(Response::new(vec![0xff_u8, 0, 1].into())),
        "/fail" => Err(Error::msg("this page always fails")),
        "/crash" => panic!("this page always crashes"),
        "/wait" => {
            wstd::task::sleep(wstd::time::Duration::from_secs(query_number(&request) as u64)).await;
            Ok(Response::new(().into()))
        }
        _ => status(StatusCode::NOT_FOUND, "no such page\n"),
    }
}

fn status(status: StatusCode, text: &str) -> Result<Response<Body>, Error> {
    Ok(Response::builder().status(status).body(text.to_owned().into())?)
}

fn query_number(request: &Request<Body>) -> usize {
    request.uri().query().and_then(|query| query.parse().ok()).unwrap_or_default()
}

fn visits() -> Result<Response<Body>, Error> {
    let counted = store::open("visits").and_then(|bucket| atomics::increment(&bucket, "all", 1));
    match counted {
        Ok(count) => {
            let page = format!("<p>visitor {count}</p>\n");
            Ok(Response::builder().header("content-type", "text/html").body(page.into())?)
        }
        Err(error) => status(StatusCode::SERVICE_UNAVAILABLE, &format!("{error:?}\n")),
    }
}

async fn echo(request: Request<Body>) -> Result<Response<Body>, Error> {
    let method = request.method().to_string();
    let answer = Response::builder().header("x-method", method).header("x-query", request.uri().query().unwrap_or(""));
    Ok(answer.body(request.into_body())?)
}

/// Asks the service that the query names, and passes its answer on.
async fn forward(request: Request<Body>) -> Result<Response<Body>, Error> {
    let url = request.uri().query().unwrap_or_default().to_owned();
    let answer = Client::new().send(Request::get(url).body(())?).await?;
    let (parts, mut body) = answer.into_parts();
    let text = body.str_contents().await?.to_owned();
    Ok(Response::builder().status(parts.status).header("x-forwarded", "yes").body(text.into())?)
}
