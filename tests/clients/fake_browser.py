"""A browser without a screen: keeps cookies, follows redirects by hand, submits the first form of each page.

The same rules as fake_browser.mjs: cookie prefixes, Secure, SameSite, Path, the Origin header as the page's
Referrer-Policy leaves it, Sec-Fetch-Site over a chain of redirects, and CSP form-action.
"""

import http.client
import re
import time
from dataclasses import dataclass, field
from email.utils import parsedate_to_datetime
from html.parser import HTMLParser
from urllib.parse import SplitResult, urlencode, urljoin, urlsplit

MAX_HOPS = 30
LOOPBACK = {"localhost", "127.0.0.1", "::1"}


class BrowserError(Exception):
    """What a user would see as: I cannot sign in."""


@dataclass
class Page:
    """What one navigation brought."""

    url: SplitResult
    status: int
    location: str | None
    text: str
    policy: str
    form_action: str | None


@dataclass
class Step:
    """The next navigation. `source` is the page whose form started it; None: the address bar."""

    url: SplitResult
    method: str = "GET"
    body: str | None = None
    source: Page | None = None
    crossed: bool = False


@dataclass
class Cookie:
    """One cookie in the jar."""

    name: str
    value: str
    host: str
    path: str = "/"
    same_site: str = "lax"
    ends: float | None = None


@dataclass
class FakeBrowser:
    """One user's browser."""

    username: str
    password: str
    visits: int = 0
    _cookies: list[Cookie] = field(default_factory=list)
    _passwords: int = 0

    def visit(self, url: str, callback: str) -> str:
        """Open `url` and go on until the browser is sent to `callback`. Returns that whole URL."""
        self.visits += 1
        self._passwords = 0
        until = urlsplit(callback)
        step = Step(urlsplit(url))
        for _ in range(MAX_HOPS):
            page = self._load(step)
            if page.location is None:
                step = self._submit(page)
                continue
            target = urljoin(step.url.geturl(), page.location)
            following = urlsplit(target)
            if (following.scheme, following.netloc, following.path) == (until.scheme, until.netloc, until.path):
                return target
            keeps = page.status in (307, 308)
            step = Step(
                following,
                step.method if keeps else "GET",
                step.body if keeps else None,
                step.source,
                step.crossed or (step.source is not None and origin_of(step.url) != origin_of(step.source.url)),
            )
        raise BrowserError(f"no end after {MAX_HOPS} pages, last {bare(step.url)}")

    def _load(self, step: Step) -> Page:
        url, source = step.url, step.source
        if url.scheme != "http" or url.hostname not in LOOPBACK:
            raise BrowserError(f"this browser only visits the loopback, not {bare(url)}")
        if source:
            allow_form(source, url)
        headers = {
            "User-Agent": "FakeBrowser/1.0",
            "Accept": "text/html,application/xhtml+xml;q=0.9,*/*;q=0.8",
            "Sec-Fetch-Mode": "navigate",
            "Sec-Fetch-Dest": "document",
            "Sec-Fetch-User": "?1",
            "Sec-Fetch-Site": fetch_site(step),
        }
        if cookies := self._matching(step):
            headers["Cookie"] = cookies
        if source and source.policy != "no-referrer":
            headers["Referer"] = f"{origin_of(source.url)}/"
        if step.method == "POST":
            headers["Content-Type"] = "application/x-www-form-urlencoded"
            headers["Origin"] = origin_header(step)
        connection = http.client.HTTPConnection(url.hostname, url.port or 80, timeout=30)
        try:
            path = (url.path or "/") + (f"?{url.query}" if url.query else "")
            connection.request(step.method, path, body=step.body, headers=headers)
            response = connection.getresponse()
            text = response.read().decode(errors="replace")
        finally:
            connection.close()
        for line in response.headers.get_all("Set-Cookie") or []:
            self._keep(line, url)
        policy = response.headers.get("Content-Security-Policy") or ""
        form_action = re.search(r"(?:^|;)\s*form-action\s+([^;]*)", policy, re.IGNORECASE)
        return Page(
            url,
            response.status,
            response.headers.get("Location") if 300 <= response.status < 400 else None,
            text,
            response.headers.get("Referrer-Policy") or "strict-origin-when-cross-origin",
            form_action.group(1) if form_action else None,
        )

    def _submit(self, page: Page) -> Step:
        form = FirstForm()
        form.feed(page.text)
        if form.attributes is None:
            text = re.sub(r"<style.*?</style>", "", page.text, flags=re.DOTALL | re.IGNORECASE)
            text = " ".join(re.sub(r"<[^>]*>", " ", text).split())
            raise BrowserError(f"stuck at {bare(page.url)}: HTTP {page.status}, no form: {text[:500]}")
        pairs: list[tuple[str, str]] = []
        submit: dict[str, str] | None = None
        for tag, given in form.fields:
            kind = given.get("type", "submit" if tag == "button" else "text").lower()
            if kind in ("submit", "image"):
                if submit is None:
                    submit = given
                    if "name" in given:
                        pairs.append((given["name"], given.get("value", "")))
            elif "name" in given and kind not in ("button", "reset"):
                if kind in ("checkbox", "radio") and "checked" not in given:
                    continue
                pairs.append((given["name"], self._value(given, kind)))
        if any(given.get("type", "").lower() == "password" for _, given in form.fields):
            self._passwords += 1
            if self._passwords > 1:
                raise BrowserError(f"{bare(page.url)} refused the password")
        submit = submit or {}
        action = submit.get("formaction") or form.attributes.get("action") or page.url.geturl()
        url = urlsplit(urljoin(page.url.geturl(), action))
        method = (submit.get("formmethod") or form.attributes.get("method") or "GET").upper()
        if method == "GET":
            return Step(url._replace(query=urlencode(pairs)), source=page)
        return Step(url, method, urlencode(pairs), page)

    def _value(self, given: dict[str, str], kind: str) -> str:
        if kind == "hidden":
            return given.get("value", "")
        if kind == "password":
            return self.password
        if given["name"] in ("username", "login", "email"):
            return self.username
        return given.get("value", "")

    def _keep(self, line: str, url: SplitResult) -> None:
        pair, *rest = [part.strip() for part in line.split(";")]
        name, _, value = pair.partition("=")
        cookie = Cookie(name, value, url.hostname or "")
        given = {key.lower(): setting for key, _, setting in (part.partition("=") for part in rest)}
        if given.get("path", "").startswith("/"):
            cookie.path = given["path"]
        cookie.same_site = given.get("samesite", "lax").lower()
        if "max-age" in given:
            cookie.ends = time.time() + int(given["max-age"])
        elif "expires" in given:
            cookie.ends = parsedate_to_datetime(given["expires"]).timestamp()
        if "domain" in given:
            raise BrowserError(f"cookie {name} of {bare(url)} sets a Domain")
        if name.startswith("__Host-") and not ("secure" in given and given.get("path") == "/"):
            raise BrowserError(f"browsers refuse the cookie {name}: __Host- needs Secure and Path=/")
        if cookie.same_site == "none" and "secure" not in given:
            raise BrowserError(f"browsers refuse the cookie {name}: SameSite=None needs Secure")
        place = (cookie.name, cookie.host, cookie.path)
        self._cookies = [old for old in self._cookies if (old.name, old.host, old.path) != place]
        if cookie.ends is None or cookie.ends > time.time():
            self._cookies.append(cookie)

    def _matching(self, step: Step) -> str:
        """All loopback hosts count as trustworthy, so Secure cookies travel; ports do not part sites, names do."""
        same_site = step.source is None or step.source.url.hostname == step.url.hostname
        lax = step.method == "GET"
        path = step.url.path or "/"
        return "; ".join(
            f"{cookie.name}={cookie.value}"
            for cookie in self._cookies
            if cookie.host == step.url.hostname
            and (cookie.ends is None or cookie.ends > time.time())
            and (path == cookie.path or path.startswith(cookie.path.rstrip("/") + "/"))
            and (same_site or cookie.same_site == "none" or (cookie.same_site == "lax" and lax))
        )


class FirstForm(HTMLParser):
    """The attributes and the fields of the first form of a page."""

    def __init__(self) -> None:
        super().__init__()
        self.attributes: dict[str, str] | None = None
        self.fields: list[tuple[str, dict[str, str]]] = []
        self._inside = False

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = {name: value or "" for name, value in attrs}
        if tag == "form" and self.attributes is None:
            self.attributes = given
            self._inside = True
        elif self._inside and tag in ("input", "button"):
            self.fields.append((tag, given))

    def handle_endtag(self, tag: str) -> None:
        if tag == "form":
            self._inside = False


def fetch_site(step: Step) -> str:
    """Fetch metadata: `none` from the address bar; one foreign origin in the chain ends same-origin."""
    if step.source is None:
        return "none"
    if step.source.url.hostname != step.url.hostname:
        return "cross-site"
    same = origin_of(step.source.url) == origin_of(step.url) and not step.crossed
    return "same-origin" if same else "same-site"


def origin_header(step: Step) -> str:
    """Fetch, "append a request Origin header": a page that sends no referrer posts with Origin: null."""
    assert step.source is not None
    own = origin_of(step.source.url)
    if step.source.policy == "no-referrer" or step.crossed:
        return "null"
    if step.source.policy == "same-origin" and own != origin_of(step.url):
        return "null"
    return own


def allow_form(page: Page, url: SplitResult) -> None:
    """Chromium applies form-action to every redirect that follows the form."""
    if page.form_action is None:
        return
    allowed = page.form_action.split()
    own = "'self'" in allowed and origin_of(page.url) == origin_of(url)
    if not own and origin_of(url) not in allowed and f"{url.scheme}:" not in allowed:
        raise BrowserError(f"CSP form-action of {bare(page.url)} forbids to go on to {bare(url)}")


def origin_of(url: SplitResult) -> str:
    """Scheme, host and port."""
    return f"{url.scheme}://{url.netloc}"


def bare(url: SplitResult) -> str:
    """An address without its query: queries hold states and codes."""
    return f"{origin_of(url)}{url.path}"
