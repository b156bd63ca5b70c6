//! The body of an answer that is no stream, up to a size.

/// The largest answer that is read, bytes: a real server's have kilobytes. As a tree of values it may take eighty times that.
const LARGEST: usize = 1 << 20;

/// Reads the body of an answer, in bounded memory.
///
/// # Errors
/// A sentence that completes "… does not answer: …": what the connection said, or that the answer is too large.
pub async fn whole_body(mut response: reqwest::Response) -> Result<Vec<u8>, String> {
    let mut body = Vec::new();
    while let Some(part) = response.chunk().await.map_err(|error| error.to_string())? {
        body.extend_from_slice(&part);
        if body.len() > LARGEST {
            return Err(format!("the answer is longer than {LARGEST} bytes"));
        }
    }
    Ok(body)
}
