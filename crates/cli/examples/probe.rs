//! Runs the command line by itself, without a server behind `server`.
use std::future::Future;
use std::pin::Pin;
use strongroom_cli::{Commands, Io};
struct NoServer;
impl Commands for NoServer {
    fn server<'a>(
        &'a self,
        args: Vec<String>,
        io: &'a mut Io,
    ) -> Pin<Box<dyn Future<Output = i32> + Send + 'a>> {
        Box::pin(async move {
            let _ = writeln!(io.stderr, "no server here: {args:?}");
            1
        })
    }
}
use std::io::Write;
#[tokio::main(flavor = "current_thread")]
async fn main() {
    let mut io = Io::system();
    std::process::exit(strongroom_cli::run(std::env::args_os().collect(), &mut io, &NoServer).await)
}
