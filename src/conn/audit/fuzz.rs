//! Answers to CLIENT LIST out of bytes of anybody's making: see `crate::fuzzing`.

use super::client_list::{Name, number, of_namespace, parse};

/// An answer to CLIENT LIST or INFO.
pub fn client_list(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let clients: Vec<_> = parse(text).collect();
    assert!(clients.len() <= text.lines().count());
    let names: Vec<_> = clients.iter().filter_map(|client| Name::parse(client.name)).collect();
    for name in &names {
        let Name { namespace, component, instance, role, generation } = name;
        let written = format!("{namespace}:{component}:{instance}:{role}:{generation}");
        assert_eq!(Name::parse(&written).as_ref(), Some(name));
    }
    let ours = names.iter().filter(|name| name.namespace == "trunkline").count();
    assert_eq!(of_namespace(text, "trunkline").len(), ours);
    number(text, "maxclients");
}
