//! Templates over a machine with a loopback, a private and a public interface.

use super::*;

fn one(name: &str, ip: &str, prefix: u8, default_route: bool) -> Interface {
    Interface { name: name.to_owned(), ip: ip.parse().unwrap(), prefix, up: true, default_route }
}

fn machine() -> Vec<Interface> {
    vec![
        one("lo", "127.0.0.1", 8, false),
        one("lo", "::1", 128, false),
        one("eth0", "fe80::1", 64, true),
        one("eth0", "fd00::5", 64, true),
        one("eth0", "10.1.2.3", 16, true),
        one("eth0", "10.9.2.3", 24, true),
        one("eth1", "8.8.4.4", 24, true),
        one("docker0", "172.17.0.1", 16, false),
    ]
}

fn expanded(text: &str) -> Result<String, String> {
    expand_with(text, &machine())
}

#[test]
fn documented_templates() {
    for (template, wanted) in [
        ("10.0.0.1:8200", "10.0.0.1:8200"),
        ("{{ GetPrivateIP }}", "10.9.2.3"),
        ("https://{{GetPrivateIP}}:8201", "https://10.9.2.3:8201"),
        ("{{ GetPublicIP }}:8200", "8.8.4.4:8200"),
        ("{{ GetInterfaceIP \"eth1\" }}", "8.8.4.4"),
        ("{{ GetInterfaceIP `docker[0-9]` }}", "172.17.0.1"),
        ("{{ GetInterfaceIPs \"eth0\" }}", "10.9.2.3 10.1.2.3 fd00::5"),
        (
            "{{ GetPrivateInterfaces | include \"network\" \"10.0.0.0/8\" | sort \"-size\" | limit 1 | attr \"address\" }}",
            "10.1.2.3",
        ),
        ("{{ GetAllInterfaces | include \"name\" \"docker0\" | attr \"network\" }}", "172.17.0.0/16"),
        (
            "{{ GetAllInterfaces | exclude \"name\" \"^(lo|eth|docker)\" | join \"name\" \",\" }}{{ GetPublicIP }}",
            "",
        ),
        (
            "{{ GetAllInterfaces | include \"type\" \"IPv4\" | exclude \"rfc\" \"6890\" | join \"address\" \" \" }}",
            "8.8.4.4",
        ),
        (
            "{{ GetAllInterfaces | include \"flags\" \"up|loopback\" | unique \"name\" | join \"name\" \",\" }}",
            "lo",
        ),
        (
            "{{ GetDefaultInterfaces | include \"type\" \"ipv4\" | sort \"address\" | offset 1 | attr \"address\" }}",
            "10.1.2.3",
        ),
        ("{{ GetAllInterfaces | sort \"-name,address\" | offset -1 | attr \"name\" }}", "docker0"),
        ("{{- GetAllInterfaces | include \"size\" \"/8\" | attr \"netmask\" -}}", "255.0.0.0"),
    ] {
        match expanded(template) {
            Ok(text) => assert_eq!(text, wanted, "{template}"),
            Err(reason) => assert!(wanted.is_empty(), "{template}: {reason}"),
        }
    }
}

#[test]
fn mistakes_are_named() {
    for (template, reason) in [
        ("{{ GetPrivateIP", "lacks"),
        ("{{ }}", "empty"),
        ("{{ GetMyIP }}", "unknown function \"GetMyIP\""),
        ("{{ GetPrivateIP \"x\" }}", "takes no argument"),
        ("{{ GetInterfaceIP }}", "takes one argument, not 0"),
        ("{{ GetAllInterfaces }}", "end it with attr"),
        ("{{ GetAllInterfaces | attr \"colour\" }}", "unknown attribute \"colour\""),
        ("{{ GetAllInterfaces | include \"network\" \"ten\" }}", "\"ten\" is not a network"),
        ("{{ GetAllInterfaces | include \"rfc\" \"1\" }}", "unknown RFC"),
        ("{{ GetAllInterfaces | include \"flags\" \"blue\" }}", "unknown flag"),
        ("{{ GetAllInterfaces | include \"colour\" \"blue\" }}", "unknown filter"),
        ("{{ GetAllInterfaces | include \"name\" \"(\" }}", "not a regular expression"),
        ("{{ GetAllInterfaces | sort \"colour\" }}", "unknown sort criterion"),
        ("{{ GetAllInterfaces | limit \"-1\" }}", "zero"),
        ("{{ GetAllInterfaces | include \"name\" \"wlan0\" | attr \"address\" }}", "finds no address"),
        ("{{ GetInterfaceIP \"wlan0\" }}", "finds no address on this machine"),
        ("{{ GetPrivateIP | attr \"address\" }}", "a text before it"),
        ("{{ with $x := GetAllInterfaces }}{{ end }}", "variables"),
        ("{{ GetInterfaceIP \"eth0 }}", "not closed"),
    ] {
        let error = expanded(template).unwrap_err();
        assert!(error.contains(reason), "{template}: {error}");
    }
}

#[test]
fn this_machine_answers() {
    assert_eq!(expand("{{ GetAllInterfaces | include \"name\" \"^lo$\" | include \"type\" \"IPv4\" | attr \"address\" }}").unwrap(), "127.0.0.1");
    assert_eq!(expand("no template").unwrap(), "no template");
}
