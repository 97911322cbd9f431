//! The method has every operation that Vault documents, with its fields. Source: Vault's published `OpenAPI` document.

use strongroom_engine_api::{Access, Backend as _, Operation};

use crate::engine;

/// Method, path, members of the body (or parameters of the query), members of the answer's data.
#[rustfmt::skip]
const OPERATIONS: [(&str, &str, &str, &str); 51] = [
    ("POST", "login", "role_id secret_id", ""),
    ("LIST", "role/", "", ""),
    ("GET", "role/{role_name}", "", "bind_secret_id local_secret_ids period policies secret_id_bound_cidrs secret_id_num_uses secret_id_ttl token_bound_cidrs token_explicit_max_ttl token_max_ttl token_no_default_policy token_num_uses token_period token_policies token_ttl token_type"),
    ("POST", "role/{role_name}", "bind_secret_id bound_cidr_list local_secret_ids period policies role_id secret_id_bound_cidrs secret_id_num_uses secret_id_ttl token_bound_cidrs token_explicit_max_ttl token_max_ttl token_no_default_policy token_num_uses token_period token_policies token_ttl token_type", ""),
    ("DELETE", "role/{role_name}", "", ""),
    ("GET", "role/{role_name}/bind-secret-id", "", "bind_secret_id"),
    ("POST", "role/{role_name}/bind-secret-id", "bind_secret_id", ""),
    ("DELETE", "role/{role_name}/bind-secret-id", "", ""),
    ("GET", "role/{role_name}/bound-cidr-list", "", "bound_cidr_list"),
    ("POST", "role/{role_name}/bound-cidr-list", "bound_cidr_list", ""),
    ("DELETE", "role/{role_name}/bound-cidr-list", "", ""),
    ("POST", "role/{role_name}/custom-secret-id", "cidr_list metadata num_uses secret_id token_bound_cidrs ttl", "secret_id secret_id_accessor secret_id_num_uses secret_id_ttl"),
    ("GET", "role/{role_name}/local-secret-ids", "", "local_secret_ids"),
    ("GET", "role/{role_name}/period", "", "period token_period"),
    ("POST", "role/{role_name}/period", "period token_period", ""),
    ("DELETE", "role/{role_name}/period", "", ""),
    ("GET", "role/{role_name}/policies", "", "policies token_policies"),
    ("POST", "role/{role_name}/policies", "policies token_policies", ""),
    ("DELETE", "role/{role_name}/policies", "", ""),
    ("GET", "role/{role_name}/role-id", "", "role_id"),
    ("POST", "role/{role_name}/role-id", "role_id", ""),
    ("POST", "role/{role_name}/secret-id", "cidr_list metadata num_uses token_bound_cidrs ttl", "secret_id secret_id_accessor secret_id_num_uses secret_id_ttl"),
    ("POST", "role/{role_name}/secret-id-accessor/destroy", "secret_id_accessor", ""),
    ("DELETE", "role/{role_name}/secret-id-accessor/destroy", "secret_id_accessor", ""),
    ("POST", "role/{role_name}/secret-id-accessor/lookup", "secret_id_accessor", "cidr_list creation_time expiration_time last_updated_time metadata secret_id_accessor secret_id_num_uses secret_id_ttl token_bound_cidrs"),
    ("GET", "role/{role_name}/secret-id-bound-cidrs", "", "secret_id_bound_cidrs"),
    ("POST", "role/{role_name}/secret-id-bound-cidrs", "secret_id_bound_cidrs", ""),
    ("DELETE", "role/{role_name}/secret-id-bound-cidrs", "", ""),
    ("GET", "role/{role_name}/secret-id-num-uses", "", "secret_id_num_uses"),
    ("POST", "role/{role_name}/secret-id-num-uses", "secret_id_num_uses", ""),
    ("DELETE", "role/{role_name}/secret-id-num-uses", "", ""),
    ("GET", "role/{role_name}/secret-id-ttl", "", "secret_id_ttl"),
    ("POST", "role/{role_name}/secret-id-ttl", "secret_id_ttl", ""),
    ("DELETE", "role/{role_name}/secret-id-ttl", "", ""),
    ("LIST", "role/{role_name}/secret-id/", "", ""),
    ("POST", "role/{role_name}/secret-id/destroy", "secret_id", ""),
    ("DELETE", "role/{role_name}/secret-id/destroy", "secret_id", ""),
    ("POST", "role/{role_name}/secret-id/lookup", "secret_id", "cidr_list creation_time expiration_time last_updated_time metadata secret_id_accessor secret_id_num_uses secret_id_ttl token_bound_cidrs"),
    ("GET", "role/{role_name}/token-bound-cidrs", "", "token_bound_cidrs"),
    ("POST", "role/{role_name}/token-bound-cidrs", "token_bound_cidrs", ""),
    ("DELETE", "role/{role_name}/token-bound-cidrs", "", ""),
    ("GET", "role/{role_name}/token-max-ttl", "", "token_max_ttl"),
    ("POST", "role/{role_name}/token-max-ttl", "token_max_ttl", ""),
    ("DELETE", "role/{role_name}/token-max-ttl", "", ""),
    ("GET", "role/{role_name}/token-num-uses", "", "token_num_uses"),
    ("POST", "role/{role_name}/token-num-uses", "token_num_uses", ""),
    ("DELETE", "role/{role_name}/token-num-uses", "", ""),
    ("GET", "role/{role_name}/token-ttl", "", "token_ttl"),
    ("POST", "role/{role_name}/token-ttl", "token_ttl", ""),
    ("DELETE", "role/{role_name}/token-ttl", "", ""),
    ("POST", "tidy/secret-id", "", ""),
];

fn operation(method: &str) -> Operation {
    match method {
        "GET" => Operation::Read,
        "POST" => Operation::Update,
        "DELETE" => Operation::Delete,
        "LIST" => Operation::List,
        other => panic!("{other}"),
    }
}

#[test]
fn every_documented_operation_is_there_with_its_fields() {
    let engine = engine();
    for (method, path, takes, answers) in OPERATIONS {
        let operation = operation(method);
        let route = engine.routes().iter().find(|route| {
            route.pattern().openapi() == path && route.operations().any(|(other, _)| other == operation)
        });
        let route = route.unwrap_or_else(|| panic!("{method} {path} is missing"));
        let (_, endpoint) = route.operations().find(|(other, _)| *other == operation).unwrap();
        let mut taken: Vec<&str> = endpoint.doc.fields.iter().map(|field| field.name.as_str()).collect();
        taken.retain(|name| operation != Operation::List || !["after", "limit"].contains(name));
        taken.sort_unstable();
        assert_eq!(taken, takes.split_whitespace().collect::<Vec<_>>(), "{method} {path}");
        let mut answered: Vec<&str> = endpoint.doc.response.iter().map(|field| field.name.as_str()).collect();
        answered.sort_unstable();
        assert_eq!(answered, answers.split_whitespace().collect::<Vec<_>>(), "{method} {path}");
        assert!(endpoint.doc.fields.iter().all(|field| !field.description.is_empty()), "{method} {path}");
        let access = if path == "login" { Access::Open } else { Access::Granted };
        assert_eq!(endpoint.access, access, "{method} {path}");
    }
}

#[test]
fn there_is_no_other_operation() {
    let count: usize = engine().routes().iter().map(|route| route.operations().count()).sum();
    // A role is created and updated by one documented POST.
    assert_eq!(count, OPERATIONS.len() + 1);
}
