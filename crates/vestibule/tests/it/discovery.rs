//! Discovery documents (RFC 8414, RFC 9728, OpenID Connect): which paths answer, with what, and which do not.
