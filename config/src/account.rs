//! `serviceAccount` of a component: as whom it writes.

use tk8s_core::ServiceAccount;

use crate::fields::Fields;

/// `serviceAccount`, as it is written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum AccountText {
    /// In whatever is the component's `namespace`.
    Name(String),
    Whole(ServiceAccount),
}

impl AccountText {
    pub(crate) fn read(fields: &mut Fields<'_>) -> Option<AccountText> {
        let text = fields.text("serviceAccount")?;
        let read = match text.contains('/') {
            true => text.parse().map(AccountText::Whole),
            false => ServiceAccount::new("default", &text).map(|account| AccountText::Name(account.name().into())),
        };
        match read {
            Ok(read) => Some(read),
            Err(_) => {
                let shown = tk8s_core::printable(&text, 80);
                fields.problem("serviceAccount", format!("`{shown}` is no service account: write `name` or `namespace/name`"));
                None
            }
        }
    }

    /// The account of a component whose objects are in this namespace if they name none.
    pub(crate) fn within(&self, namespace: Option<&str>, fields: &mut Fields<'_>) -> Option<ServiceAccount> {
        let account = match (self, namespace) {
            (AccountText::Whole(account), _) => Some(account.clone()),
            (AccountText::Name(name), Some(namespace)) => ServiceAccount::new(namespace, name).ok(),
            (AccountText::Name(_), None) => None,
        };
        if account.is_none() {
            fields.problem(
                "serviceAccount",
                "nobody knows in which namespace it is: write `namespace/name`, or give the component a `namespace`",
            );
        }
        account
    }
}

#[cfg(test)]
mod tests {
    use crate::Platform;
    use crate::platform::of_one_layer as parse;

    fn account_of(platform: &Platform, name: &str) -> Option<String> {
        let spec = platform.components().iter().find(|spec| spec.name.as_str() == name).unwrap();
        spec.service_account.as_ref().map(ToString::to_string)
    }

    #[test]
    fn an_account_without_a_namespace_is_in_the_component_s() {
        let components = "  - {name: one, path: one, namespace: shop}\n  - {name: two, path: two, namespace: bank}\n  - {name: own, path: own, serviceAccount: ops/deployer}\n";
        let platform = parse("serviceAccount: tenant", components).unwrap();
        let accounts = ["one", "two", "own"].map(|name| account_of(&platform, name).unwrap());
        assert_eq!(accounts, ["shop/tenant", "bank/tenant", "ops/deployer"]);
        assert_eq!(account_of(&parse("namespace: shop", "  - {name: one, path: one}\n").unwrap(), "one"), None);
    }

    #[test]
    fn what_is_no_account_is_refused() {
        for (keys, word) in [
            ("serviceAccount: deployer", "write `namespace/name`, or give the component a `namespace`"),
            ("serviceAccount: Deployer, namespace: shop", "`Deployer` is no service account: write `name` or `namespace/name`"),
            ("serviceAccount: shop/a/b", "is no service account"),
            ("serviceAccount: 'system:serviceaccount:shop:a', namespace: shop", "is no service account"),
        ] {
            let found = parse("namespace:", &format!("  - {{name: one, path: one, {keys}}}\n")).unwrap_err();
            assert!(found.contains(word), "{keys}: {found}");
        }
    }
}
