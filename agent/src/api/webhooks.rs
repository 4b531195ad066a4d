//! Webhooks. They only ever trigger a fetch: nothing in a payload is believed, so nothing of it is parsed.

use axum::http::HeaderMap;
use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::Sha256;

/// Which header carries the signature.
#[derive(Clone, Copy, Debug)]
pub enum Provider {
    /// `X-Signature: sha256=...` (or without the prefix).
    Generic,
    /// GitHub's `X-Hub-Signature-256: sha256=...`; Gitea and Forgejo send the same.
    GitHub,
}

impl Provider {
    fn header(self) -> &'static str {
        match self {
            Provider::Generic => "x-signature",
            Provider::GitHub => "x-hub-signature-256",
        }
    }
}

/// The signature that a request shows, and as much of its body as was read. Nothing of a body is kept: anybody may send one.
pub struct Claim {
    shown: Vec<u8>,
    mac: Hmac<Sha256>,
}

impl Claim {
    /// None without a signature that could be one. An empty secret signs nothing.
    pub fn of(provider: Provider, headers: &HeaderMap, secret: &[u8]) -> Option<Claim> {
        let shown = headers.get(provider.header())?.to_str().ok()?;
        let digits = match provider {
            Provider::GitHub => shown.strip_prefix("sha256=")?,
            Provider::Generic => shown.strip_prefix("sha256=").unwrap_or(shown),
        };
        let (Ok(shown), false) = (hex::decode(digits), secret.is_empty()) else { return None };
        let mac = Hmac::<Sha256>::new_from_slice(secret).expect("because HMAC takes keys of any length");
        Some(Claim { shown, mac })
    }

    /// The next bytes of the body.
    pub fn read(&mut self, bytes: &[u8]) {
        self.mac.update(bytes);
    }

    /// Whether all that was read was signed with the secret. Compared in constant time.
    pub fn holds(self) -> bool {
        self.mac.verify_slice(&self.shown).is_ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn signed(provider: Provider, headers: &HeaderMap, body: &[u8], secret: &[u8]) -> bool {
        Claim::of(provider, headers, secret).is_some_and(|mut claim| {
            body.chunks(1).for_each(|piece| claim.read(piece));
            claim.holds()
        })
    }

    fn signature(secret: &[u8], body: &[u8]) -> String {
        let mut mac = Hmac::<Sha256>::new_from_slice(secret).unwrap();
        mac.update(body);
        format!("sha256={}", hex::encode(mac.finalize().into_bytes()))
    }

    fn headers(name: &'static str, value: &str) -> HeaderMap {
        HeaderMap::from_iter([(axum::http::HeaderName::from_static(name), value.parse().unwrap())])
    }

    #[test]
    fn github_s_own_example_is_accepted() {
        // From GitHub's documentation, "Validating webhook deliveries".
        let headers = headers("x-hub-signature-256", "sha256=757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17");
        assert!(signed(Provider::GitHub, &headers, b"Hello, World!", b"It's a Secret to Everybody"));
    }

    #[test]
    fn what_was_not_signed_with_the_secret_is_refused() {
        let body = b"{}";
        let good = signature(b"s3cret", b"{}");
        assert!(signed(Provider::Generic, &headers("x-signature", &good), body, b"s3cret"));
        for (header, value, secret) in [
            ("x-signature", signature(b"other", b"{}"), &b"s3cret"[..]),
            ("x-signature", signature(b"s3cret", b"{ }"), b"s3cret"),
            ("x-signature", "sha256=".into(), b"s3cret"),
            ("x-signature", "sha256=zz".into(), b"s3cret"),
            ("x-signature", good[..20].into(), b"s3cret"),
            ("x-hub-signature-256", good.clone(), b"s3cret"),
            ("x-signature", signature(b"", b"{}"), b""),
        ] {
            assert!(!signed(Provider::Generic, &headers(header, &value), body, secret), "{header}: {value}");
        }
        assert!(!signed(Provider::Generic, &HeaderMap::new(), body, b"s3cret"));
    }
}
