"""Runs the conformance suite kosoku against the WebSocket server at the address, and tells the verdicts. Left out is what
measures speed with large and many messages: it takes minutes, and shows nothing about frames that a smaller one does not."""

import asyncio
import sys

import kosoku

from facts import tell

CASES = [
    *([f"{part}.*"] for part in (1, 2, 3, 4, 5, 6, 7, 10)),
    [f"{part}.{size}" for part in ("12.1", "12.2", "13.1", "13.3", "13.7") for size in (1, 2)],
]


async def run(cases):
    try:
        return await kosoku.run_fuzzingclient(sys.argv[1], cases, concurrency=4)
    except kosoku.FailureError as failure:
        return failure.results


async def main():
    for cases in CASES:
        verdicts = {it.case_id: [it.behavior.value, it.behavior_close.value] for it in await run(cases)}
        tell("verdicts", verdicts=verdicts)
    tell("over")


asyncio.run(main())
