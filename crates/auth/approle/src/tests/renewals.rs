//! Renewals.

use std::collections::BTreeMap;
use std::time::Duration;

use strongroom_engine_api::Renewal;

use super::*;

fn renewal(grant: &AuthGrant) -> Renewal {
    Renewal {
        internal: grant.internal.clone(),
        metadata: grant.metadata.clone(),
        policies: grant.policies.clone(),
        increment: None,
    }
}

#[tokio::test]
async fn a_renewal_follows_the_role_of_today() {
    let method = method();
    post(&method, "role/Web", json!({"role_id": "rid", "token_policies": "a", "token_ttl": "1h"})).await;
    post(&method, "role/web/custom-secret-id", json!({"secret_id": "s", "metadata": "n=1"})).await;
    let granted = login(&method, "rid", "s").await.unwrap();
    let renewed = method.renew(renewal(&granted)).await.unwrap();
    assert_eq!(format!("{granted:?}"), format!("{renewed:?}"));
    let change =
        json!({"token_policies": "b", "token_ttl": "2h", "token_max_ttl": "3h", "token_period": "10m"});
    post(&method, "role/web", change).await;
    let renewed = method.renew(renewal(&granted)).await.unwrap();
    assert_eq!(renewed.policies, ["b"]);
    assert_eq!(renewed.ttl, Duration::from_hours(2));
    assert_eq!(renewed.max_ttl, Duration::from_hours(3));
    assert_eq!(renewed.period, Duration::from_mins(10));
    assert_eq!(renewed.metadata, granted.metadata);
    delete(&method, "role/web").await;
    let refusal = refusal(method.renew(renewal(&granted)).await.unwrap_err());
    assert_eq!(refusal, bad("role \"web\" does not exist during renewal"));
}

#[tokio::test]
async fn a_token_that_names_no_role_is_not_renewed() {
    let method = method();
    let nameless =
        Renewal { internal: BTreeMap::new(), metadata: BTreeMap::new(), policies: vec![], increment: None };
    assert!(matches!(method.renew(nameless).await, Err(EngineError::Internal(_))));
}
