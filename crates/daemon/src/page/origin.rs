//! What a request says of where it comes from, and what it carries.

use axum::http::{HeaderMap, header};

/// Whether a form was sent from a page of ours, as far as the browser says. Programs say nothing of it and pass.
pub fn is_same_origin(headers: &HeaderMap) -> bool {
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    let is_own_site =
        text("sec-fetch-site").is_none_or(|site| matches!(site, "same-origin" | "none"));
    let host = text("host").unwrap_or("");
    let is_own_origin = text("origin")
        .is_none_or(|origin| origin.split_once("://").is_some_and(|(_, of)| of == host));
    is_own_site && is_own_origin
}

/// The value of a cookie.
pub fn cookie<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    let all = headers.get_all(header::COOKIE).into_iter().filter_map(|value| value.to_str().ok());
    let mut pairs = all.flat_map(|all| all.split(';')).filter_map(|one| one.trim().split_once('='));
    pairs.find(|(known, _)| *known == name).map(|(_, value)| value)
}

/// The first parameter of this name in a query.
pub fn parameter(query: &str, name: &str) -> Option<String> {
    form_urlencoded::parse(query.as_bytes())
        .find(|(key, _)| key == name)
        .map(|(_, value)| value.into_owned())
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;

    use super::*;

    fn headers(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        pairs
            .iter()
            .map(|(name, value)| {
                (header::HeaderName::from_static(name), HeaderValue::from_static(value))
            })
            .collect()
    }

    #[test]
    fn a_form_of_another_site_is_told_apart() {
        for (pairs, is_own) in [
            (vec![("host", "a:1")], true),
            (vec![("host", "a:1"), ("origin", "http://a:1")], true),
            (vec![("host", "a:1"), ("origin", "http://b")], false),
            (vec![("host", "a:1"), ("origin", "null")], false),
            (vec![("host", "a"), ("sec-fetch-site", "cross-site")], false),
            (vec![("host", "a"), ("sec-fetch-site", "same-origin")], true),
        ] {
            assert_eq!(is_same_origin(&headers(&pairs)), is_own, "{pairs:?}");
        }
    }

    #[test]
    fn a_cookie_is_found_among_others() {
        let sent = headers(&[("cookie", "a=1; saker_mute=xyz; b=2")]);
        assert_eq!(cookie(&sent, "saker_mute"), Some("xyz"));
        assert_eq!(cookie(&sent, "c"), None);
    }
}
