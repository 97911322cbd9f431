//! The way out as those see it who are built without it: engines.

use futures::future::BoxFuture;
use strongroom_outbound_api::{Error, Manner, Request, Response, SharedTls, Stream, WayOut};

use crate::{Outbound, Tls};

impl Outbound {
    /// The same, in the manner of one caller. What is made of TLS settings is kept with them, since connections are shared by
    /// it.
    fn in_manner(&self, manner: Manner) -> Self {
        let Manner { timeouts, tls } = manner;
        let made = |tls: SharedTls| {
            tls.made(|settings| Tls::lazy(settings.clone()))
                .map_or_else(|| Tls::lazy(tls.settings().clone()), |made| (*made).clone())
        };
        let tls = tls.map_or_else(|| self.tls.clone(), made);
        Self { tls, timeouts, ..self.clone() }
    }
}

impl WayOut for Outbound {
    fn http(&self, request: Request, manner: Manner) -> BoxFuture<'_, Result<Response, Error>> {
        let outbound = self.in_manner(manner);
        Box::pin(async move { Self::http(&outbound, request).await })
    }

    fn connect<'a>(
        &'a self,
        host: &'a str,
        port: u16,
        manner: Manner,
    ) -> BoxFuture<'a, Result<Stream, Error>> {
        let outbound = self.in_manner(manner);
        Box::pin(async move { outbound.tcp(host, port).await })
    }

    fn secure<'a>(
        &'a self,
        stream: Stream,
        host: &'a str,
        protocols: &'a [&'a [u8]],
        manner: Manner,
    ) -> BoxFuture<'a, Result<Stream, Error>> {
        let outbound = self.in_manner(manner);
        Box::pin(async move { outbound.start_tls(stream, host, protocols).await })
    }
}
