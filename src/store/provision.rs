//! Prepares a PostgreSQL cluster of our own: what its administrator does by hand in production.
//!
//! `dev` and the tests have a superuser at hand and nobody to ask, so they make the owner and the database that
//! `docs/decisions/0001-roles.md` expects. Running it again changes nothing but the owner's password.

use tokio_postgres::{Client, Error};

use super::roles::{Login, password_clause, quote_identifier, role_exists};

/// Makes a login role that may own a database and create the roles that go with it.
///
/// # Errors
///
/// When the database refuses; the connection has to be a superuser's.
pub async fn ensure_owner(superuser: &Client, owner: &Login) -> Result<(), Error> {
    let verb = if role_exists(superuser, &owner.name).await? { "ALTER" } else { "CREATE" };
    let (name, password) = (quote_identifier(&owner.name), password_clause(owner));
    superuser.batch_execute(&format!("{verb} ROLE {name} LOGIN CREATEROLE {password}")).await
}

/// Makes a database that belongs to `owner`.
///
/// # Errors
///
/// When the database refuses; the connection has to be a superuser's.
pub async fn ensure_database(superuser: &Client, database: &str, owner: &Login) -> Result<(), Error> {
    let statement = "SELECT EXISTS (SELECT FROM pg_database WHERE datname = $1)";
    if superuser.query_one(statement, &[&database]).await?.try_get(0)? {
        return Ok(());
    }
    let (database, owner) = (quote_identifier(database), quote_identifier(&owner.name));
    superuser.batch_execute(&format!("CREATE DATABASE {database} OWNER {owner}")).await
}
