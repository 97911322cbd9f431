//! Listing and removing objects.

use http::Method;

use crate::answers::Page;
use crate::request::{Failure, Request, Session};

impl Session<'_> {
    /// The names that begin with `prefix`.
    pub(crate) async fn list(&self, prefix: &str) -> Result<Vec<String>, Failure> {
        let (mut names, mut next) = (Vec::new(), None::<String>);
        loop {
            let mut query = vec![("list-type", "2"), ("prefix", prefix)];
            query.extend(next.as_deref().map(|token| ("continuation-token", token)));
            let answer = self.send(&Request::bare(Method::GET, "", &query)).await?;
            let Some(page) = Page::read(&answer.body) else { return Err(answer.strange("no list")) };
            let (more, token) = page.into_parts();
            names.extend(more);
            if token.is_none() {
                return Ok(names);
            }
            if token == next {
                return Err(answer.strange("the list has no end"));
            }
            next = token;
        }
    }

    pub(crate) async fn delete(&self, key: &str) -> Result<(), Failure> {
        self.send(&Request::bare(Method::DELETE, key, &[])).await.map(|_done| ())
    }
}
