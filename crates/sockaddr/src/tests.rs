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
fn math_changes_addresses() {
    let eth = |ip: &str, prefix: u8, math: &str| {
        let machine = [one("eth0", ip, prefix, true)];
        let template = format!("{{{{ GetAllInterfaces | math {math} | join \"address\" \" \" }}}}");
        expand_with(&template, &machine)
    };
    for (ip, prefix, math, wanted) in [
        // The examples of go-sockaddr's documentation.
        ("127.255.255.255", 8, r#""address" "+1""#, "128.0.0.0"),
        ("127.0.0.1", 8, r#""network" "-1""#, "127.255.255.255"),
        ("192.168.10.20", 24, r#""mask" "16""#, "192.168.0.0"),
        ("192.168.10.20", 24, r#""mask" "28""#, "192.168.10.16"),
        ("10.1.2.3", 16, r#""address" "+256""#, "10.1.3.3"),
        ("10.1.2.3", 16, r#""address" "-256""#, "10.1.1.3"),
        ("10.1.2.3", 16, r#""network" "+2""#, "10.1.0.2"),
        ("10.1.2.3", 16, r#""network" "+65538""#, "10.1.0.2"),
        ("10.1.2.3", 24, r#""network" "-2""#, "10.1.2.254"),
        ("255.255.255.255", 32, r#""address" "+2""#, "0.0.0.1"),
        ("0.0.0.0", 32, r#""address" "-1""#, "255.255.255.255"),
        ("10.0.0.9", 32, r#""network" "+1""#, "10.0.0.9"),
        ("fd00::5", 64, r#""network" "+2""#, "fd00::2"),
        ("fd00::5", 64, r#""address" "-6""#, "fcff:ffff:ffff:ffff:ffff:ffff:ffff:ffff"),
        ("fd00::5", 0, r#""network" "+5""#, "::5"),
        ("fd00::5", 64, r#""mask" "16""#, "fd00::"),
    ] {
        assert_eq!(eth(ip, prefix, math).as_deref(), Ok(wanted), "{ip}/{prefix} {math}");
    }
    for (math, reason) in [
        (r#""address" "1""#, "with its sign"),
        (r#""network" "two""#, "with its sign"),
        (r#""mask" "33""#, "not the size of a network"),
        (r#""colour" "+1""#, "unknown math operation"),
        (r#""mask""#, "takes two arguments"),
    ] {
        let error = eth("10.1.2.3", 16, math).unwrap_err();
        assert!(error.contains(reason), "{math}: {error}");
    }
    let size = "{{ GetAllInterfaces | include \"name\" \"eth1\" | math \"mask\" \"16\" | attr \"network\" }}";
    assert_eq!(expanded(size).unwrap(), "8.8.0.0/16");
}

#[test]
fn variables_hold_interfaces_and_texts() {
    for (template, wanted) in [
        ("{{ $ip := GetPrivateIP }}https://{{ $ip }}:8200", "https://10.9.2.3:8200"),
        (
            "{{ $eth := GetAllInterfaces | include \"name\" \"eth1\" }}{{ $eth | attr \"address\" }}/{{ $eth | attr \"name\" }}",
            "8.8.4.4/eth1",
        ),
        ("{{ $name := \"docker0\" }}{{ GetInterfaceIP $name }}", "172.17.0.1"),
        ("{{ $a := \"x\" -}} {{ $a = \"y=z\" -}} {{ $a }}", "y=z"),
        ("{{ . | include \"name\" \"eth1\" | attr \"address\" }}", "8.8.4.4"),
        ("a {{- $b := GetPublicIP -}} {{ $b }}", "a8.8.4.4"),
    ] {
        assert_eq!(expanded(template).as_deref(), Ok(wanted), "{template}");
    }
    for (template, reason) in [
        ("{{ $x }}", "the variable $x is not set"),
        ("{{ $x = GetPrivateIP }}", "set it with :="),
        ("{{ $x := }}", "empty"),
        ("{{ $x := GetAllInterfaces }}{{ $x }}", "end it with attr"),
        ("{{ $x := GetAllInterfaces }}{{ GetInterfaceIP $x }}", "is no text"),
        ("{{ $x := \"\" }}{{ $x }}", "finds no address"),
        ("{{ range GetAllInterfaces }}{{ end }}", "\"range\" is not supported"),
        ("{{ (GetPrivateIP) }}", "nested expressions"),
    ] {
        let error = expanded(template).unwrap_err();
        assert!(error.contains(reason), "{template}: {error}");
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
