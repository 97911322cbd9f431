//! HTTP requests whose answers are read whole.

use std::time::Duration;

use http::header::CONTENT_LENGTH;
use http::{Method, Uri};
use http_body_util::{BodyExt, Full, LengthLimitError, Limited};
use strongroom_outbound_api::{Error, Phase, Reason, Request, Response, Target};

use crate::exchange::{Progress, innermost};
use crate::outbound::Outbound;
use crate::redirect;

/// The time limit for which an answer is held back until its connection is ready for the next request.
const GIVE_BACK_TIMEOUT: Duration = Duration::from_millis(5);

impl Outbound {
    /// Sends a request and reads its answer whole.
    ///
    /// # Errors
    ///
    /// [`Error::NotSent`] where nothing of it left this machine, else [`Error::MayHaveArrived`]. An error status of the
    /// server is no error here.
    pub async fn http(&self, request: Request) -> Result<Response, Error> {
        let progress = Progress::default();
        let to = request.shown();
        let outcome = self.network.within(self.timeouts.whole, self.follow(request, &progress)).await;
        let reason = Reason::TimedOut(Phase::Whole);
        let outcome = outcome.unwrap_or(Err(Error::NotSent { to, reason }));
        outcome.map_err(|error| if progress.may_have_arrived() { error.after_sending() } else { error })
    }

    async fn follow(&self, mut request: Request, progress: &Progress) -> Result<Response, Error> {
        let mut outbound = self.clone();
        let mut redirects = 0_u32;
        loop {
            let (url, target) = request.target()?;
            let response = outbound.once(&request, &url, &target, progress).await?;
            let next =
                redirect::next(&request, &target, &response, outbound.tls.settings().identity.is_some());
            let refused = |reason| Error::MayHaveArrived { to: target.shown(), reason };
            let Some(next) = next.map_err(refused)? else { return Ok(response) };
            if redirects >= request.max_redirects {
                return Err(refused(Reason::Redirect(format!("more than {redirects} redirects"))));
            }
            redirects = redirects.saturating_add(1);
            progress.sent_before.store(true, std::sync::atomic::Ordering::SeqCst);
            progress.sending(false);
            if next.is_elsewhere {
                outbound = outbound.with_tls(outbound.tls.for_another_host());
            }
            request = next.request;
        }
    }

    async fn once(
        &self,
        request: &Request,
        url: &Uri,
        target: &Target,
        progress: &Progress,
    ) -> Result<Response, Error> {
        #[cfg(any(test, feature = "double"))]
        if let Some(double) = &self.network.double {
            return self.answered_by(double, request, target, progress).await;
        }
        let (response, in_use) = self.exchange(to_http(request, url.clone()), progress).await?;
        let lost = |reason| Error::MayHaveArrived { to: target.shown(), reason };
        let (head, body) = response.into_parts();
        let announced =
            head.headers.get(CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse().ok());
        if announced.is_some_and(|length: usize| length > request.max_answer)
            && request.method != Method::HEAD
        {
            return Err(lost(Reason::TooLong(request.max_answer)));
        }
        let body = match Limited::new(body, request.max_answer).collect().await {
            Ok(body) => body.to_bytes(),
            Err(error) if error.is::<LengthLimitError>() => {
                return Err(lost(Reason::TooLong(request.max_answer)));
            }
            Err(error) => return Err(lost(Reason::Broken(innermost(&*error)))),
        };
        // The next request finds the connection; a server that answered before it had read all is not waited for.
        let mut giving_back = Box::pin(in_use.give_back());
        if tokio::time::timeout(GIVE_BACK_TIMEOUT, &mut giving_back).await.is_err() {
            tokio::spawn(giving_back);
        }
        Ok(Response { status: head.status, headers: head.headers, body })
    }
}

/// The request as it goes over a connection.
fn to_http(request: &Request, url: Uri) -> http::Request<crate::Body> {
    let body = Full::new(request.body.clone()).map_err(|never| match never {}).boxed_unsync();
    let mut sent = http::Request::new(body);
    *sent.method_mut() = request.method.clone();
    *sent.uri_mut() = url;
    *sent.headers_mut() = request.headers.clone();
    sent
}
