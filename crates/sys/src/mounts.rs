use strongroom_engine_api::Engine;

pub(crate) fn routes(engine: Engine) -> Engine {
    engine
}
