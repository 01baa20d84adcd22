//! Every kind of problem that a host answers with: what it means, why it comes, what to do; and the page of each, which is what
//! the `type` of a problem leads to.
//!
//! Knows nothing of single requests: what is wrong with one of them is in its answer.

use axum::response::Html;

use super::{
    Problem,
    request::PathOf,
    route::{Access, Route},
};

/// Where the pages are, on every host.
pub const BEGIN: &str = "/problems/";

/// One kind of problem. Backticks in the texts are code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProblemKind {
    /// The last step of its address.
    pub name: &'static str,
    pub title: &'static str,
    pub cause: &'static str,
    pub fix: &'static str,
}

const fn kind(name: &'static str, title: &'static str, cause: &'static str, fix: &'static str) -> ProblemKind {
    ProblemKind { name, title, cause, fix }
}

/// In the order of their names.
pub const KINDS: &[ProblemKind] = &[
    kind(
        "bad-request",
        "the request cannot be read",
        "The address, the query, a header or the body is not what this route takes. `detail` names the part, with what was written there.",
        "Compare the request with this route in `/openapi.json`, which shows an example of every request.",
    ),
    kind(
        "conflict",
        "something else is there already",
        "What was asked for does not go together with what there is: another plugin under the same version, a project or a credential too many, a revision that cannot be used.",
        "`detail` says what is in the way. Upload under a new version, or remove what is not needed any more.",
    ),
    kind(
        "forbidden",
        "the token does not allow this",
        "The token is valid, but lacks the scope that this route asks for, or is good for one project alone where the whole account is meant.",
        "`detail` names the scope. Make a token with it: `trellis token create --name … --scope …`.",
    ),
    kind(
        "internal",
        "the host failed",
        "The host met something that it was not prepared for. The cause is in its log, beside the request's time; it is not told here, because it may say something of others.",
        "Try again. If it stays, give the operator of the host the time and the address of the request.",
    ),
    kind(
        "invalid-event",
        "the event does not fit the schema of its trigger",
        "The project says with `schema` what events of this trigger look like, and this one does not. No run came of it.",
        "`faults` lists what does not fit, each with a JSON Pointer into the event. Mend the event, or the schema in the manifest.",
    ),
    kind(
        "invalid-manifest",
        "the manifest is not accepted",
        "The manifest has faults: keys that are not known, plugins that were not uploaded, edges that join nothing, credentials that are not set. Nothing was changed.",
        "`faults` lists all of them, each with its place in the manifest and a way to mend it.",
    ),
    kind(
        "invalid-plugin",
        "the plugin is not accepted",
        "The bytes are no component that this host can run: it imports what no host has, exports no transformer, describes itself wrongly, or takes too much to compile.",
        "`faults` says what. `trellis plugin check FILE` says the same without a host.",
    ),
    kind(
        "key-reused",
        "the key belongs to another event",
        "An event with this `Idempotency-Key` and another body was accepted before.",
        "Send each event with a key of its own, and use a key again only to repeat the very same event.",
    ),
    kind(
        "loop",
        "the event comes from a loop",
        "Too many grids have started each other since an event last came from outside.",
        "Look for grids that send events to themselves or to each other; the attribute `hops` of their runs counts up.",
    ),
    kind(
        "method-not-allowed",
        "the method is not taken here",
        "There is such an address, but it does not take this method. The header `Allow` lists those that it takes.",
        "Use one of them.",
    ),
    kind(
        "not-found",
        "there is no such thing",
        "Nothing has this address or this name, as far as the token may know: what belongs to another account or another project does not exist for it.",
        "Check the spelling, the token, and for an operator's token the header `Trellis-Account`.",
    ),
    kind(
        "not-kept",
        "the run is not kept, if there was one",
        "The run is over, and the account's history does not keep runs that ended like it.",
        "An operator sets what is kept: `trellis account set NAME --history full`.",
    ),
    kind(
        "not-replayable",
        "the run cannot be replayed like this",
        "The run does not fit what it would be replayed or tried on: its grid, its trigger or a plugin is not there.",
        "Replay it on its own revision (`--revision same`), or from the start (`--from start`).",
    ),
    kind(
        "precondition-failed",
        "what is there is not what was expected",
        "The header `If-Match` or `If-None-Match` names another revision than the one that is there: somebody else was faster.",
        "Read again, decide again, and write with the new `ETag`.",
    ),
    kind(
        "rate-limited",
        "too many events",
        "The account has used up a window of its limits.",
        "Wait for the time in `Retry-After`. `trellis limits` shows both windows; `on_limit = \"queue\"` of a trigger accepts events and lets them wait.",
    ),
    kind(
        "refused",
        "the request was refused",
        "The request was turned away before it came to its route.",
        "`detail` says why.",
    ),
    kind(
        "run-failed",
        "the run did not succeed",
        "Somebody waited for the result of a run, and a node of it has failed for good, or it was cancelled. What the node said is not told to senders.",
        "The header `trellis-run` names the run: whoever may see its project finds the reason with `trellis run show`.",
    ),
    kind(
        "run-input",
        "the run could do nothing with the event",
        "Somebody waited for the result of a run, and a node of it does not take what it was given.",
        "Compare the event with what the trigger's grid expects. The header `trellis-run` names the run, which has the reason.",
    ),
    kind(
        "run-state",
        "the run's state does not allow this",
        "The run is over, or is not over yet, or was replayed before.",
        "Look at it with `trellis run show`. A run that was replayed is replayed once more with `--again`.",
    ),
    kind(
        "run-timeout",
        "the run took too long",
        "Somebody waited for the result of a run, and a node of it did not come to an end within its time, however often it was tried.",
        "Send the event again later. The header `trellis-run` names the run, which says what took so long.",
    ),
    kind(
        "too-large",
        "the body is too large",
        "The body has more bytes than are taken here. `detail` says how many that are.",
        "Send less at once. An operator changes `http.body_max` and `http.upload_max`.",
    ),
    kind(
        "too-many-streams",
        "too many streams",
        "The account follows, or waits for, as many runs at the same time as it may.",
        "End some of them, or try again after `Retry-After`. An operator changes the settings under `watch`.",
    ),
    kind(
        "too-slow",
        "the request did not come in time",
        "The body came more slowly than the host waits for.",
        "Send it again over a better connection. An operator changes `http.body_timeout` and `http.body_rate_min`.",
    ),
    kind(
        "unauthorized",
        "a valid token is needed",
        "There is no token in the request, or it is mistyped, unknown, revoked or expired. A webhook is told the same if its signature does not hold.",
        "Send `Authorization: Bearer trl_…`. `trellis token create` makes a token; for webhooks, compare the secret on both sides.",
    ),
    kind(
        "unavailable",
        "not now",
        "The host cannot answer at this moment: its database is away, it is stopping, or it answers as many requests as it can. Whether an event was accepted is not known.",
        "Try again after `Retry-After`, events with the same `Idempotency-Key`.",
    ),
    kind(
        "unfit-record",
        "the record does not fit the schema of its collection",
        "The project's manifest declares a schema for the collection, and the body does not fit it. `faults` lists what does not, each with its place in the body. Nothing was written.",
        "Send what the schema asks for, or change it in the manifest under `[collections.NAME]` and deploy.",
    ),
    kind(
        "unsupported-media-type",
        "the body is not of a kind that is taken here",
        "`Content-Type` or `Content-Encoding` says something that this route does not take.",
        "`detail` names what is taken. Packed bodies are taken nowhere.",
    ),
];

/// The kind of this name.
pub fn find(name: &str) -> Option<&'static ProblemKind> {
    KINDS.iter().find(|kind| kind.name == name)
}

pub fn declared() -> Vec<Route> {
    vec![
        Route::get("/problems", Access::Public, "All kinds of problems, as a page", list).answers_text(
            200,
            "text/html",
            "A page with links",
        ),
        Route::get("/problems/{problem}", Access::Public, "What a kind of problem means, as a page", show)
            .answers_text(200, "text/html", "The page that the `type` of a problem leads to"),
    ]
}

/// `GET /problems`
async fn list() -> Html<String> {
    let line = |kind: &ProblemKind| format!("<li><a href=\"{BEGIN}{0}\">{0}</a>: {1}</li>\n", kind.name, kind.title);
    let lines: String = KINDS.iter().map(line).collect();
    Html(page("Problems", &format!("<ul>\n{lines}</ul>")))
}

/// `GET /problems/{problem}`
async fn show(PathOf(name): PathOf<String>) -> Result<Html<String>, Problem> {
    let kind =
        find(&name).ok_or_else(|| Problem::not_found("there is no such kind of problem; `/problems` lists all"))?;
    let ProblemKind { title, cause, fix, .. } = kind;
    let body = format!(
        "<p><code>{BEGIN}{name}</code></p>\n<h2>Why</h2>\n<p>{}</p>\n<h2>What to do</h2>\n<p>{}</p>\n<p><a href=\"/problems\">All problems</a></p>",
        html(cause),
        html(fix)
    );
    Ok(Html(page(title, &body)))
}

fn page(title: &str, body: &str) -> String {
    let viewport = "<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">";
    format!(
        "<!doctype html>\n<html lang=\"en\">\n<head><meta charset=\"utf-8\">{viewport}<title>{0} · Trellis</title></head>\n<body>\n<main>\n<h1>{0}</h1>\n{body}\n</main>\n</body>\n</html>\n",
        html(title)
    )
}

/// Text with its backticks as code.
fn html(text: &str) -> String {
    let escaped = text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;");
    let parts = escaped.split('`').enumerate();
    parts.map(|(index, part)| if index % 2 == 1 { format!("<code>{part}</code>") } else { part.to_owned() }).collect()
}

#[cfg(test)]
mod tests {
    use std::{collections::BTreeSet, fs, path::Path};

    use super::*;

    /// The first text behind each `begin` in the sources of the API, up to their tests.
    fn named_behind(begin: &str, folder: &Path, found: &mut BTreeSet<String>) {
        for entry in fs::read_dir(folder).expect("the sources are there") {
            let path = entry.expect("readable").path();
            if path.is_dir() {
                named_behind(begin, &path, found);
                continue;
            }
            let text = fs::read_to_string(&path).expect("source text");
            let text = text.split("#[cfg(test)]").next().unwrap_or_default();
            for rest in text.split(begin).skip(1) {
                let until_end = rest.split([')', ';']).next().unwrap_or_default();
                found.extend(until_end.split('"').nth(1).map(str::to_owned));
            }
        }
    }

    #[test]
    fn every_kind_that_is_used_is_in_the_catalogue_and_every_other_is_gone() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/api");
        let mut used = BTreeSet::new();
        for begin in ["Self::new(StatusCode::", "Problem::invalid("] {
            named_behind(begin, &folder, &mut used);
        }
        // Named by a constant, and chosen by status.
        used.extend([Problem::NOT_KEPT, "refused"].map(str::to_owned));
        let known: BTreeSet<String> = KINDS.iter().map(|kind| kind.name.to_owned()).collect();
        assert_eq!(used, known);
    }

    #[test]
    fn kinds_are_in_order_and_say_something() {
        assert!(KINDS.is_sorted_by(|one, other| one.name < other.name));
        for ProblemKind { name, title, cause, fix } in KINDS {
            assert!(name.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'-'), "{name}");
            assert!(!title.is_empty() && !title.ends_with('.'), "{name}");
            for text in [cause, fix] {
                assert!(text.ends_with('.') && text.matches('`').count() % 2 == 0, "{name}: {text}");
            }
        }
    }

    #[tokio::test]
    async fn every_kind_has_a_page_and_nothing_else_has_one() {
        let Html(all) = list().await;
        for kind in KINDS {
            assert!(all.contains(&format!("href=\"/problems/{}\"", kind.name)), "{}", kind.name);
            let shown = show(PathOf(kind.name.to_owned())).await;
            let Html(text) = shown.unwrap_or_else(|_| panic!("no page of {}", kind.name));
            assert!(text.contains(&html(kind.cause)) && text.contains(&html(kind.fix)), "{text}");
        }
        let refused = show(PathOf("<script>".to_owned())).await.expect_err("no kind");
        assert!(refused.status == 404 && !refused.detail.contains("script"), "{refused:?}");
    }

    #[test]
    fn what_is_shown_is_escaped() {
        assert_eq!(html("a `<b>` & c"), "a <code>&lt;b&gt;</code> &amp; c");
    }
}
