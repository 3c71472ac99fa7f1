"""What calls used, for whoever runs the gateway: sums for each day, and the last calls one by one.

    ApiCall.end ──note──> CallBook (memory) ──every two seconds──> notes ──> admin API, `chat2api usage`

Rules:
* nothing here holds a message's text, a token, a cookie or a key; keys go by their names, accounts by our ids;
* sums are each worker's own, and added up when somebody asks, so that no two ever write the same note;
* what was noted in the last two seconds is lost with a process that is killed.
"""

from shim.usage.book import CallBook, UsageRow, add_up, open_book
from shim.usage.record import CallRecord

__all__ = ["CallBook", "CallRecord", "UsageRow", "add_up", "open_book"]
