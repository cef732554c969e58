//! Takes any bytes for the header that a load balancer sends ahead of those of its client. It must be read without a byte of what follows, and without
//! asking for more than the longest header.

/// Reads a header from `input`.
pub fn run(input: &[u8]) {
    goldcrest::check_proxy_header(input);
}
