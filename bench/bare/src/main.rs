//! The limit the server is measured against: axum on a multi-threaded runtime, answering every request with the
//! same 700 bytes of JSON and doing nothing else. Takes the port to listen on as its one argument.

use std::io;

use axum::Router;
use axum::http::header::CONTENT_TYPE;

/// As many bytes as the answer to a read of a small KV version 2 secret has.
const BODY_BYTES: usize = 700;

#[tokio::main]
async fn main() -> io::Result<()> {
    let port = std::env::args().nth(1).unwrap_or_else(|| "0".to_owned());
    let listener = tokio::net::TcpListener::bind(format!("127.0.0.1:{port}")).await?;
    let wrapping = r#"{"data":""}"#.len();
    let body: &'static str =
        format!(r#"{{"data":"{}"}}"#, "x".repeat(BODY_BYTES - wrapping)).leak();
    let app = Router::new().fallback(move || async move { ([(CONTENT_TYPE, "application/json")], body) });
    axum::serve(listener, app).await
}
