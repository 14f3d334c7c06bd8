//! The cookies of a sign-in: which browser was shown the consent page, which sign-in it approved (law 4), and what it need
//! not be asked again.
//!
//! `browser`: random, set with the consent page, the same for all tabs; it makes the page's ticket useless in any other
//! browser. `flow-<state>`: one per sign-in, set only after approval, gone after the callback, so parallel tabs never
//! overwrite each other. A flow with a very long client `state` is split over several cookies, because browsers drop a
//! cookie above 4096 bytes.
//!
//! `memory`: one, sealed, kept for as long as consent may be remembered (T9). There is none unless the user asked for it.
//!
//! `session`: who is signed in at `/connections`, sealed, a quarter of an hour. `account`: who signed in last, sealed, for the
//! consent page to say so.
//!
//! Over https the names have the `__Host-` prefix. Plain http exists on loopback only (`vestibule dev`); Safari refuses
//! `Secure` cookies there, so prefix and attribute are left out.

use http::header::{COOKIE, SET_COOKIE};
use http::{HeaderMap, HeaderValue};

use vestibule_oauth::url::Origin;

/// Longest value in one cookie. Browsers allow 4096 bytes for name and value together.
const CHUNK: usize = 3800;
/// More chunks than any flow needs (4 KiB of state make two).
const MAX_CHUNKS: usize = 4;

/// Names and attributes of our cookies.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Cookies {
    secure: bool,
}

impl Cookies {
    pub(crate) fn new(origin: &Origin) -> Self {
        Self {
            secure: origin.is_https(),
        }
    }

    /// The browser's own random value, if it has one of the right shape.
    pub(crate) fn browser(self, headers: &HeaderMap) -> Option<String> {
        let shape = |value: &&str| {
            value.len() == 22
                && value
                    .bytes()
                    .all(|b| b.is_ascii_alphanumeric() || b"-_".contains(&b))
        };
        find(headers, &self.name("browser"))
            .filter(shape)
            .map(str::to_owned)
    }

    /// Gives the browser its value; it keeps it until it is closed.
    pub(super) fn set_browser(self, headers: &mut HeaderMap, value: &str) {
        self.set(headers, &self.name("browser"), value, None);
    }

    /// The sealed flow with this `state`.
    pub(crate) fn flow(self, headers: &HeaderMap, state: &str) -> Option<String> {
        let name = self.flow_name(state)?;
        let mut value = find(headers, &name)?.to_owned();
        for part in 1..MAX_CHUNKS {
            match find(headers, &format!("{name}.{part}")) {
                Some(more) => value.push_str(more),
                None => break,
            }
        }
        Some(value)
    }

    /// Remembers a flow for `lifetime` seconds.
    pub(super) fn set_flow(
        self,
        headers: &mut HeaderMap,
        state: &str,
        sealed: &str,
        lifetime: u64,
    ) {
        let Some(name) = self.flow_name(state) else {
            return;
        };
        for (part, chunk) in sealed.as_bytes().chunks(CHUNK).enumerate() {
            let chunk = String::from_utf8_lossy(chunk);
            self.set(headers, &part_name(&name, part), &chunk, Some(lifetime));
        }
    }

    /// Forgets a flow.
    pub(super) fn clear_flow(self, request: &HeaderMap, headers: &mut HeaderMap, state: &str) {
        let Some(name) = self.flow_name(state) else {
            return;
        };
        for part in 0..MAX_CHUNKS {
            let name = part_name(&name, part);
            if part == 0 || find(request, &name).is_some() {
                self.set(headers, &name, "", Some(0));
            }
        }
    }

    /// The sealed memory.
    pub(crate) fn memory(self, headers: &HeaderMap) -> Option<&str> {
        find(headers, &self.name("memory"))
    }

    /// Remembers for `lifetime` seconds.
    pub(super) fn set_memory(self, headers: &mut HeaderMap, sealed: &str, lifetime: u64) {
        self.set(headers, &self.name("memory"), sealed, Some(lifetime));
    }

    /// Forgets everything.
    pub(super) fn clear_memory(self, headers: &mut HeaderMap) {
        self.set(headers, &self.name("memory"), "", Some(0));
    }

    /// The sealed session of `/connections`.
    pub(super) fn session(self, headers: &HeaderMap) -> Option<&str> {
        find(headers, &self.name("session"))
    }

    /// Signs in for `lifetime` seconds; forgets the session when that is zero.
    pub(super) fn set_session(self, headers: &mut HeaderMap, sealed: &str, lifetime: u64) {
        self.set(headers, &self.name("session"), sealed, Some(lifetime));
    }

    /// Who signed in last, sealed.
    pub(super) fn account(self, headers: &HeaderMap) -> Option<&str> {
        find(headers, &self.name("account"))
    }

    /// Remembers who signed in for `lifetime` seconds; forgets it when that is zero.
    pub(super) fn set_account(self, headers: &mut HeaderMap, sealed: &str, lifetime: u64) {
        self.set(headers, &self.name("account"), sealed, Some(lifetime));
    }

    fn name(self, name: &str) -> String {
        let prefix = if self.secure { "__Host-" } else { "" };
        format!("{prefix}vestibule-{name}")
    }

    /// `None` for a state that is not one of ours: it comes from a query and must not become part of a header.
    fn flow_name(self, state: &str) -> Option<String> {
        let ours = state.len() == 22
            && state
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || b"-_".contains(&b));
        ours.then(|| self.name(&format!("flow-{state}")))
    }

    fn set(self, headers: &mut HeaderMap, name: &str, value: &str, max_age: Option<u64>) {
        let secure = if self.secure { "; Secure" } else { "" };
        let age = max_age
            .map(|seconds| format!("; Max-Age={seconds}"))
            .unwrap_or_default();
        // Lax: the callback and the authorization request are top-level navigations from other sites.
        let cookie = format!("{name}={value}; Path=/{age}; HttpOnly; SameSite=Lax{secure}");
        if let Ok(value) = HeaderValue::try_from(cookie) {
            headers.append(SET_COOKIE, value);
        }
    }
}

fn part_name(name: &str, part: usize) -> String {
    if part == 0 {
        name.to_owned()
    } else {
        format!("{name}.{part}")
    }
}

/// The value of the first cookie with this name.
fn find<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers
        .get_all(COOKIE)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|line| line.split(';'))
        .filter_map(|pair| pair.trim().split_once('='))
        .find(|(own, _)| *own == name)
        .map(|(_, value)| value)
}

#[cfg(test)]
mod tests {
    use super::*;

    const STATE: &str = "AAAAAAAAAAAAAAAAAAAAAA";

    fn cookies(origin: &str) -> Cookies {
        Cookies::new(&Origin::parse(origin).unwrap())
    }

    fn send_back(set: &HeaderMap) -> HeaderMap {
        let pairs: Vec<_> = set
            .get_all(SET_COOKIE)
            .iter()
            .map(|value| value.to_str().unwrap().split(';').next().unwrap())
            .collect();
        let mut headers = HeaderMap::new();
        headers.insert(COOKIE, pairs.join("; ").parse().unwrap());
        headers
    }

    #[test]
    fn attributes_are_as_strict_as_the_origin_allows() {
        let mut headers = HeaderMap::new();
        cookies("https://h").set_flow(&mut headers, STATE, "x", 600);
        let expected = format!(
            "__Host-vestibule-flow-{STATE}=x; Path=/; Max-Age=600; HttpOnly; SameSite=Lax; Secure"
        );
        assert_eq!(headers[SET_COOKIE], expected);
        let mut headers = HeaderMap::new();
        cookies("http://localhost:8080").set_flow(&mut headers, STATE, "x", 600);
        assert_eq!(
            headers[SET_COOKIE],
            format!("vestibule-flow-{STATE}=x; Path=/; Max-Age=600; HttpOnly; SameSite=Lax")
        );
    }

    #[test]
    fn a_flow_too_large_for_one_cookie_comes_back_whole() {
        let house = cookies("https://h");
        for length in [1, CHUNK, CHUNK + 1, 3 * CHUNK] {
            let value = "v".repeat(length);
            let mut set = HeaderMap::new();
            house.set_flow(&mut set, STATE, &value, 600);
            assert!(
                set.get_all(SET_COOKIE)
                    .iter()
                    .all(|cookie| cookie.len() < 4096)
            );
            assert_eq!(house.flow(&send_back(&set), STATE), Some(value));
        }
    }

    #[test]
    fn a_state_of_the_attackers_making_reaches_no_header() {
        let house = cookies("https://h");
        for state in [
            "",
            "short",
            "AAAAAAAAAAAAAAAAAAAA;A",
            "AAAAAAAAAAAAAAAAAAAA\r\n",
            &"A".repeat(23),
        ] {
            let mut headers = HeaderMap::new();
            house.set_flow(&mut headers, state, "x", 600);
            house.clear_flow(&HeaderMap::new(), &mut headers, state);
            assert!(headers.is_empty(), "{state:?}");
            assert_eq!(house.flow(&HeaderMap::new(), state), None);
        }
    }
}
