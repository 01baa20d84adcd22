//! How far an event is from one that came from outside: guests' requests say it in a header, so that a grid which calls its
//! own trigger over HTTP comes to an end like one that emits to itself.
//!
//! Whoever is no guest may leave the header out, or send it: that only shortens their own chain.

use http::HeaderMap;
use trellis_model::{
    AccountId,
    outbox::{HOPS, HOPS_HEADER},
};

use super::{Api, Problem};

/// The attribute that an event with these headers gets, if it comes from a guest.
///
/// # Errors
/// The chain is longer than the account's chains may be.
pub fn attribute(api: &Api, account: AccountId, headers: &HeaderMap) -> Result<Option<(String, String)>, Problem> {
    let Some(value) = headers.get(HOPS_HEADER) else { return Ok(None) };
    let hops: Option<u32> = value.to_str().ok().and_then(|text| text.parse().ok());
    let hops = hops.ok_or_else(|| Problem::bad_request(format!("`{HOPS_HEADER}` is no number; leave it out")))?;
    let most = api.host.budgets.of(account).outbox_hops;
    if hops > most {
        return Err(Problem::loop_detected(format!(
            "{hops} emissions and requests of guests lie between this event and one from outside, and no more than {most} are allowed; do grids start each other without an end?"
        )));
    }
    Ok(Some((HOPS.to_owned(), hops.to_string())))
}
