//! Who may do what in the database: an owner who migrates, and a runtime role that owns nothing.
//!
//! Row-level security and append-only events are worth only as much as the role that the service runs as: a
//! superuser, a role that bypasses row-level security, or an owner of the tables could undo both. So rights are
//! granted to one group, [`RUNTIME_ROLE`], the service logs in as a member of it, and refuses to run as anything
//! stronger. `docs/decisions/0001-roles.md` has the reasons.

use postgres_protocol::password::scram_sha_256;
use secrecy::{ExposeSecret, SecretString};
use tokio_postgres::error::SqlState;
use tokio_postgres::{Client, Error};

/// The group that migrations grant rights to. It cannot log in, and exists once in a PostgreSQL cluster however
/// many databases there use it.
pub const RUNTIME_ROLE: &str = "counterfoil_runtime";

/// A role to log in as.
#[derive(Clone, Debug)]
pub struct Login {
    /// Its name.
    pub name: String,
    /// The password that it gets if it has to be created.
    pub password: Option<SecretString>,
}

/// Why a role is not fit to run the service.
#[derive(Debug, thiserror::Error)]
pub enum UnfitRole {
    /// It may do everything.
    #[error(
        "the database role `{0}` is a superuser, which would undo row-level security and append-only events; \
         run as a login role that is only a member of {RUNTIME_ROLE}"
    )]
    Superuser(String),
    /// It sees every ledger's rows.
    #[error(
        "the database role `{0}` bypasses row-level security; run as a login role that is only a member of \
         {RUNTIME_ROLE}"
    )]
    BypassesRowSecurity(String),
    /// It could change the tables themselves.
    #[error(
        "the database role `{role}` owns the table `{table}` (or belongs to its owner), so it could rewrite \
         history; run as a login role that is only a member of {RUNTIME_ROLE}, and keep the owner for `migrate`"
    )]
    Owner {
        /// The role.
        role: String,
        /// One of its tables.
        table: String,
    },
    /// It has no rights at all.
    #[error(
        "the database role `{0}` is not a member of {RUNTIME_ROLE}; as the owner of the database run \
         `counterfoil migrate` with DATABASE_URL naming this role, or: GRANT {RUNTIME_ROLE} TO \"{0}\""
    )]
    NotAMember(String),
    /// The question could not be asked.
    #[error("the rights of the database role cannot be read")]
    Unknown(#[from] Error),
}

/// Checks that the role of this connection is a member of [`RUNTIME_ROLE`] and nothing stronger.
///
/// # Errors
///
/// Says what the role may do that it must not, or what it lacks.
pub async fn check_runtime_role(client: &Client) -> Result<(), UnfitRole> {
    let statement = "
        SELECT r.rolname::text, r.rolsuper, r.rolbypassrls,
               (SELECT c.relname::text
                  FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
                 WHERE n.nspname = current_schema() AND c.relkind IN ('r', 'p')
                   AND pg_has_role(r.oid, c.relowner, 'MEMBER')
                 ORDER BY c.relname LIMIT 1),
               COALESCE((SELECT pg_has_role(r.oid, g.oid, 'USAGE') FROM pg_roles g WHERE g.rolname = $1), false)
          FROM pg_roles r WHERE r.rolname = current_user";
    let rows = client.query_typed(statement, &[(&RUNTIME_ROLE, tokio_postgres::types::Type::TEXT)]).await?;
    for row in rows {
        let role: String = row.try_get(0)?;
        if row.try_get(1)? {
            return Err(UnfitRole::Superuser(role));
        }
        if row.try_get(2)? {
            return Err(UnfitRole::BypassesRowSecurity(role));
        }
        if let Some(table) = row.try_get(3)? {
            return Err(UnfitRole::Owner { role, table });
        }
        if !row.try_get::<_, bool>(4)? {
            return Err(UnfitRole::NotAMember(role));
        }
    }
    Ok(())
}

/// Creates [`RUNTIME_ROLE`] unless it is there. Other databases of the cluster may do the same at this moment.
///
/// # Errors
///
/// When it is missing and this role may not create it.
pub(super) async fn ensure_runtime_role(owner: &Client) -> Result<(), Error> {
    if role_exists(owner, RUNTIME_ROLE).await? {
        return Ok(());
    }
    forgive_existing(owner.batch_execute(&format!("CREATE ROLE {RUNTIME_ROLE} NOLOGIN")).await)
}

/// Makes a login role a member of [`RUNTIME_ROLE`], creating it if it is missing. The password of an existing
/// role stays as it is.
///
/// # Errors
///
/// When this role may not create or grant roles.
pub(super) async fn ensure_runtime_login(owner: &Client, login: &Login) -> Result<(), Error> {
    let name = quote_identifier(&login.name);
    if !role_exists(owner, &login.name).await? {
        let password = password_clause(login);
        forgive_existing(owner.batch_execute(&format!("CREATE ROLE {name} LOGIN {password}")).await)?;
    }
    let statement = "
        SELECT EXISTS (SELECT FROM pg_auth_members m
                         JOIN pg_roles g ON g.oid = m.roleid JOIN pg_roles r ON r.oid = m.member
                        WHERE g.rolname = $1 AND r.rolname = $2)";
    if !owner.query_one(statement, &[&RUNTIME_ROLE, &login.name]).await?.try_get::<_, bool>(0)? {
        owner.batch_execute(&format!("GRANT {RUNTIME_ROLE} TO {name}")).await?;
    }
    Ok(())
}

/// The end of a statement that creates or alters a role. Servers may log statements, so that the password itself
/// is not in it.
pub(super) fn password_clause(login: &Login) -> String {
    match &login.password {
        Some(password) => format!("PASSWORD '{}'", scram_sha_256(password.expose_secret().as_bytes())),
        None => String::new(),
    }
}

pub(super) async fn role_exists(client: &Client, name: &str) -> Result<bool, Error> {
    let statement = "SELECT EXISTS (SELECT FROM pg_roles WHERE rolname = $1)";
    client.query_one(statement, &[&name]).await?.try_get(0)
}

/// Roles belong to the whole cluster and no lock of one database covers them: whoever came first has made it.
fn forgive_existing(result: Result<(), Error>) -> Result<(), Error> {
    match result {
        Err(error)
            if error.code() == Some(&SqlState::DUPLICATE_OBJECT)
                || error.code() == Some(&SqlState::UNIQUE_VIOLATION) =>
        {
            Ok(())
        }
        other => other,
    }
}

pub(super) fn quote_identifier(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_role_name_cannot_end_its_own_quotes() {
        assert_eq!(quote_identifier(r#"app"; DROP ROLE x; --"#), r#""app""; DROP ROLE x; --""#);
    }
}
