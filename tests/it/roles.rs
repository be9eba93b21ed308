//! Who may migrate and who may run the service.

use counterfoil::store::database_url::DatabaseUrl;
use counterfoil::store::migrate::{self, MigrateError, SchemaError};
use counterfoil::store::pool::Database;
use counterfoil::store::roles::{self, Login, UnfitRole};
use secrecy::{ExposeSecret, SecretString};

use crate::support::cluster::connect;
use crate::support::database::TestDatabase;

fn open(url: &SecretString) -> Database {
    let url = DatabaseUrl::parse(url).expect("a valid address");
    Database::open(&url, 2).expect("a usable address")
}

#[tokio::test]
async fn only_a_plain_member_of_the_runtime_role_is_fit_to_run() {
    let database = TestDatabase::migrated().await;
    roles::check_runtime_role(&database.runtime().await).await.expect("a fit role");

    let superuser = roles::check_runtime_role(&database.superuser().await).await;
    assert!(matches!(superuser, Err(UnfitRole::Superuser(_))), "{superuser:?}");
    let owner = roles::check_runtime_role(&database.owner().await).await;
    assert!(matches!(owner, Err(UnfitRole::Owner { .. })), "{owner:?}");
}

#[tokio::test]
async fn a_role_that_bypasses_row_security_or_has_no_rights_is_unfit() {
    let database = TestDatabase::migrated().await;
    let superuser = database.superuser().await;
    let (bypassing, stranger) = (format!("{}_b", database.name()), format!("{}_s", database.name()));
    superuser
        .batch_execute(&format!("CREATE ROLE {bypassing} LOGIN BYPASSRLS; CREATE ROLE {stranger} LOGIN"))
        .await
        .expect("two roles");
    for role in [&bypassing, &stranger] {
        superuser.batch_execute(&format!("SET ROLE {role}")).await.expect("another role");
        let verdict = roles::check_runtime_role(&superuser).await;
        match verdict {
            Err(UnfitRole::BypassesRowSecurity(name)) => assert_eq!(name, bypassing),
            Err(UnfitRole::NotAMember(name)) => assert_eq!(name, stranger),
            other => panic!("{role}: {other:?}"),
        }
        superuser.batch_execute("RESET ROLE").await.expect("the former role");
    }
    superuser
        .batch_execute(&format!("DROP ROLE {bypassing}; DROP ROLE {stranger}"))
        .await
        .expect("no roles left");
}

#[tokio::test]
async fn migrating_creates_the_login_of_the_service_once_and_repeats_harmlessly() {
    let database = TestDatabase::empty().await;
    let name = format!("{}_\"app", database.name());
    let login = Login { name: name.clone(), password: Some("pass'word".into()) };
    let before = migrate::check_schema(&database.owner().await).await;
    assert!(matches!(before, Err(SchemaError::Missing)), "{before:?}");

    let first = migrate::run(&open(&database.owner_url()), Some(&login)).await.expect("a migration");
    let second = migrate::run(&open(&database.owner_url()), Some(&login)).await.expect("a repetition");
    assert_eq!(first.version, migrate::needed_version());
    assert!(second.applied.is_empty());

    let encoded = name.replace('"', "%22");
    let url = database.runtime_url();
    let (_, server) = url.expose_secret().split_once('@').expect("credentials");
    let client = connect(format!("postgres://{encoded}:pass'word@{server}").into()).await;
    roles::check_runtime_role(&client).await.expect("a fit role");
    migrate::check_schema(&client).await.expect("a current schema");
    drop(client);
    let owner = database.superuser().await;
    let quoted = name.replace('"', "\"\"");
    owner.batch_execute(&format!("DROP ROLE \"{quoted}\"")).await.expect("no role left");
}

#[tokio::test]
async fn two_migrations_of_one_database_at_once_both_succeed() {
    let database = TestDatabase::empty().await;
    let owner = open(&database.owner_url());
    let (one, two) = tokio::join!(migrate::run(&owner, None), migrate::run(&owner, None));
    let (one, two) = (one.expect("one migration"), two.expect("another"));
    assert!(one.applied.is_empty() || two.applied.is_empty());
}

#[tokio::test]
async fn migrations_refuse_a_pooler_and_a_role_without_rights() {
    let database = TestDatabase::empty().await;
    let pooled = format!("{}&pgbouncer=true", database.owner_url().expose_secret()).into();
    let refused = migrate::run(&open(&pooled), None).await;
    assert!(matches!(refused, Err(MigrateError::Pooled)), "{refused:?}");

    let refused = migrate::run(&open(&database.runtime_url()), None).await;
    assert!(refused.is_err());
}
