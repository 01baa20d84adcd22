//! `Link` (RFC 8288), as far as lists that come in pages need it: the address of the next page.

use trellis_sdk::http::Response;

/// The address that an answer gives for the next page of its list.
pub fn next_page(response: &Response) -> Option<String> {
    let of_name = response.headers.iter().filter(|(name, _)| name.eq_ignore_ascii_case("link"));
    of_name.into_iter().find_map(|(_, value)| next_of(value))
}

fn next_of(field: &str) -> Option<String> {
    let mut rest = field;
    // A comma or semicolon may be part of an address, so that addresses are taken out by their brackets first.
    while let Some((_, behind)) = rest.split_once('<') {
        let (address, behind) = behind.split_once('>')?;
        let end = behind.find(",<").or_else(|| behind.find(", <")).unwrap_or(behind.len());
        let (parameters, next) = behind.split_at(end);
        if parameters.split(';').any(is_next) {
            return Some(address.trim().to_owned());
        }
        rest = next;
    }
    None
}

/// `rel=next`, `rel="next"`, `rel="last next"`.
fn is_next(parameter: &str) -> bool {
    let Some((name, value)) = parameter.split_once('=') else { return false };
    let mut relations = value.trim().trim_matches('"').split_whitespace();
    name.trim().eq_ignore_ascii_case("rel") && relations.any(|relation| relation.eq_ignore_ascii_case("next"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_next_page_is_found_among_others() {
        for (field, next) in [
            (
                "<https://api.example.com/issues?page=1>; rel=\"prev\", <https://api.example.com/issues?page=3>; rel=\"next\", <https://api.example.com/issues?page=9>; rel=\"last\"",
                Some("https://api.example.com/issues?page=3"),
            ),
            ("<https://api.example.com/a;b,c?x=1,2>; rel=next", Some("https://api.example.com/a;b,c?x=1,2")),
            ("<https://api.example.com/2>;title=\"x\";REL=\"last Next\"", Some("https://api.example.com/2")),
            ("<https://api.example.com/1>; rel=\"first\"", None),
            ("<https://api.example.com/1>; rel=\"nextish\"", None),
            ("<https://api.example.com/1", None),
            ("", None),
        ] {
            assert_eq!(next_of(field).as_deref(), next, "{field}");
        }
    }
}
