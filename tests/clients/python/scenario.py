"""What a Python client does with the ledger: open an account, grant, spend, be refused, repeat a key."""

import os
import uuid
from typing import Any, TypeVar

from counterfoil_client import AuthenticatedClient
from counterfoil_client.api.accounts import open_account
from counterfoil_client.api.balances import list_history, read_balance
from counterfoil_client.api.grants import grant_credits
from counterfoil_client.api.spends import spend_credits
from counterfoil_client.models import (
    Account,
    Balance,
    ErrorAnswer,
    ErrorCode,
    Grant,
    HistoryList,
    NewAccount,
    NewGrant,
    NewSpend,
    Spend,
)
from counterfoil_client.types import Response

T = TypeVar("T")


def answered(answer: Response[Any], status: int, kind: type[T]) -> T:
    """The body of an answer, which must have that status and type."""
    assert answer.status_code == status, (answer.status_code, answer.content)
    assert isinstance(answer.parsed, kind), answer.parsed
    return answer.parsed


def main() -> None:
    """Goes through the scenario once."""
    client = AuthenticatedClient(
        base_url=os.environ["COUNTERFOIL_URL"],
        token=os.environ["COUNTERFOIL_API_KEY"],
        raise_on_unexpected_status=True,
    )
    account = f"python-{uuid.uuid4()}"

    opening = NewAccount(account_id=account, email="ada@example.com")
    opened = answered(open_account.sync_detailed(client=client, body=opening), 201, Account)
    assert opened.account_id == account and opened.email == "ada@example.com"
    again = answered(open_account.sync_detailed(client=client, body=opening), 200, Account)
    assert again.created_at == opened.created_at

    grant = NewGrant(unit="credits", amount=100, reason="welcome")
    key = f"grant-{account}"
    first = grant_credits.sync_detailed(account, client=client, body=grant, idempotency_key=key)
    granted = answered(first, 201, Grant)
    assert granted.amount == 100 and granted.balance.available == 100 and granted.expires_at is None
    assert "Idempotent-Replayed" not in first.headers
    repeated = grant_credits.sync_detailed(account, client=client, body=grant, idempotency_key=key)
    assert repeated.headers["Idempotent-Replayed"] == "true"
    assert repeated.content == first.content
    other = NewGrant(unit="credits", amount=101, reason="welcome")
    reused = grant_credits.sync_detailed(account, client=client, body=other, idempotency_key=key)
    assert answered(reused, 409, ErrorAnswer).error.code == ErrorCode.IDEMPOTENCY_KEY_REUSED

    spend = NewSpend(unit="credits", amount=30)
    spending = spend_credits.sync_detailed(account, client=client, body=spend, idempotency_key=f"spend-{account}")
    spent = answered(spending, 201, Spend)
    assert spent.amount == 30 and spent.feature is None
    assert [(draw.lot_id, draw.amount) for draw in spent.draws] == [(granted.lot_id, 30)]

    too_much = NewSpend(unit="credits", amount=71)
    refusal = spend_credits.sync_detailed(account, client=client, body=too_much, idempotency_key=f"more-{account}")
    refused = answered(refusal, 402, ErrorAnswer).error
    assert refused.code == ErrorCode.INSUFFICIENT_CREDITS
    assert (refused.detail.unit, refused.detail.available, refused.detail.required) == ("credits", 70, 71)

    token = spending.headers["X-Position-Token"]
    balance = answered(read_balance.sync_detailed(account, client=client, min_position=token), 200, Balance)
    assert [book.available for book in balance.balances if book.unit == "credits"] == [70]
    history = answered(list_history.sync_detailed(account, client=client, min_position=token), 200, HistoryList)
    assert [item.type_ for item in history.items] == ["credits.spent", "credits.granted", "account.opened"]
    assert history.next_cursor is None


if __name__ == "__main__":
    main()
