"""So many EventSource clients, LaunchDarkly's, which do as browsers do: each comes back by itself, and says which event was its
last. The arguments are a URL, to which each adds its number, and how many there are. Tells what each has seen at its first
end."""

import logging
import sys
import threading

from ld_eventsource import SSEClient
from ld_eventsource.actions import Event, Fault
from ld_eventsource.config import ConnectStrategy, ErrorStrategy

from facts import tell

logging.disable(logging.CRITICAL)


def watch(number):
    client = SSEClient(
        ConnectStrategy.http(sys.argv[1] + str(number)),
        error_strategy=ErrorStrategy.always_continue(),
        initial_retry_delay=0.02,
    )
    events, over = [], False
    for action in client.all:
        if isinstance(action, Event):
            events.append((action.id, action.data))
        elif isinstance(action, Fault) and not over:
            over = True
            tell("end", stream=number, error=action.error and repr(action.error), events=events)


for number in range(int(sys.argv[2])):
    threading.Thread(target=watch, args=(number,)).start()
