"""`farsite vim drill`: lose one part of a VIM on purpose, and see what comes of it."""

import time
from typing import Annotated

from cyclopts import App, Parameter

from farsite.cli import printing
from farsite.cli.exit_codes import Exit
from farsite.cli.printing import Output
from farsite.client import Client, Drill, Problem

app = App(name="drill", help="Drills: lose one part of a VIM on purpose, and see what comes of it.")

Key = Annotated[str, Parameter(help="Name or id of the VIM.")]
Id = Annotated[str, Parameter(help="Id of the drill.")]
Confirm = Annotated[
    str,
    Parameter(
        help="The VIM's name, which says that you mean it. Without it you are told what would be lost."
    ),
]
Hold = Annotated[float | None, Parameter(help="Seconds for which a copy stays lost; 30 if left out.")]
LastCopy = Annotated[
    bool, Parameter(name="--last-copy", negative="", help="Also where no other copy would be left.")
]
WithFunctions = Annotated[
    bool,
    Parameter(name="--with-functions", negative="", help="Also a host on which functions of ours stand."),
]
_PAUSE_S = 0.3
_ENDED = "ENDED"


@app.command
def begin(
    vim: Key,
    about: Annotated[str, Parameter(help="What to lose a copy of, as farsite vim audit calls it.")],
    /,
    *,
    check: Annotated[str, Parameter(help="Which check, where several are about it.")] = "",
    region: Annotated[str, Parameter(help="Which region, where it is in several.")] = "",
    host: Annotated[str, Parameter(help="The copy on this host; left out, one is chosen.")] = "",
    guided: Annotated[
        bool,
        Parameter(negative="", help="You stop it, and are told when; also where Farsite could do it."),
    ] = False,
    hold: Hold = None,
    wait_for: Annotated[
        float | None, Parameter(help="Seconds that you are waited for in a guided drill; 900 if left out.")
    ] = None,
    confirm: Confirm = "",
    last_copy: LastCopy = False,
    with_functions: WithFunctions = False,
    wait: Annotated[
        bool, Parameter(name="--wait", negative="--no-wait", help="Show what happens until it has ended.")
    ] = False,
    output: Output = "table",
) -> Exit:
    """Lose one copy and watch what comes of it. The loss is undone by itself whatever happens."""
    body: dict[str, object] = {
        "about": about,
        "check": check,
        "region": region,
        "host": host,
        "injected": False if guided else None,
        "confirm": confirm,
        "may_take_last_copy": last_copy,
        "may_hurt_functions": with_functions,
    }
    body |= {"hold_s": hold} if hold is not None else {}
    body |= {"wait_s": wait_for} if wait_for is not None else {}
    with Client() as client:
        drill = client.begin_drill(vim, body)
        if wait:
            printing.note(f"Drill {drill['id']} has begun.")
            drill = _followed(client, vim, drill)
            _show(drill, output)
            return _exit_of(drill)
    if output == "table":
        printing.write(drill["id"])
        if drill["instruction"]:
            printing.note(drill["instruction"])
        printing.note(f"Watch it: farsite vim drill show {vim} {drill['id']}")
    else:
        printing.document(drill, output)
    return Exit.DONE


@app.command(name="all")
def all_(vim: Key, /, *, hold: Hold = None, confirm: Confirm = "", output: Output = "table") -> Exit:
    """Drill everything that Farsite can stop by itself, one after the other. What may not be lost is left
    out, with the reason. Functions are not hurt, and no last copy is taken."""
    results: list[Drill] = []
    with Client() as client:
        for one in client.vim_audit(vim)["checks"]:
            body: dict[str, object] = {
                "about": one["about"],
                "check": one["name"],
                "region": one["region"],
                "injected": True,
                "confirm": confirm,
            }
            body |= {"hold_s": hold} if hold is not None else {}
            printing.note(f"{one['name']} of {one['about']}:")
            try:
                results.append(_followed(client, vim, client.begin_drill(vim, body)))
            except Problem as refusal:
                printing.note(f"  left out: {refusal.detail}")
    _table(results, output)
    return Exit.FAILED if any(one["outcome"] == "FAILED" for one in results) else Exit.DONE


@app.command(name="list")
def list_(vim: Key, /, *, output: Output = "table") -> None:
    """List the drills of a VIM, the latest first."""
    with Client() as client:
        _table(client.drills(vim), output)


@app.command
def show(vim: Key, drill: Id, /, *, output: Output = "table") -> None:
    """Show a drill: what was lost, what came of it, and each thing that was seen."""
    with Client() as client:
        _show(client.drill(vim, drill), output)


@app.command
def end(vim: Key, drill: Id, /, *, output: Output = "table") -> None:
    """Have what is lost work again now. That it survived is not concluded."""
    with Client() as client:
        _show(client.end_drill(vim, drill), output)


def _followed(client: Client, vim: str, drill: Drill) -> Drill:
    """The drill once it has ended; what is seen and asked is printed as it comes."""
    printed, asked = 0, ""
    while True:
        for one in drill["observations"][printed:]:
            printing.note(f"  {printing.when(one['at'])}  {one['what']}")
        printed = len(drill["observations"])
        if drill["instruction"] and drill["instruction"] != asked:
            asked = drill["instruction"]
            printing.note(f"  >> {asked}")
        if drill["state"] == _ENDED:
            return drill
        time.sleep(_PAUSE_S)
        drill = client.drill(vim, drill["id"])


def _exit_of(drill: Drill) -> Exit:
    return Exit.FAILED if drill["outcome"] == "FAILED" else Exit.DONE


def _table(found: list[Drill], output: printing.Form) -> None:
    printing.table(
        found,
        [
            ("id", lambda one: one["id"]),
            ("begun", lambda one: printing.when(one["begun_at"])),
            ("check", lambda one: one["check"]),
            ("about", lambda one: one["about"]),
            ("lost", _lost),
            ("outcome", lambda one: one["outcome"] or one["state"]),
            ("why", lambda one: one["instruction"] or one["why"]),
        ],
        output,
        nothing="No drill was run. Begin one: farsite vim drill begin VIM ABOUT",
    )


def _lost(one: Drill) -> str:
    if one["is_host"]:
        return f"host {one['host']}"
    return f"{one['service']} on {one['host']}" if one["host"] else one["service"]


def _show(one: Drill, output: printing.Form) -> None:
    words = {True: "met", False: "NOT MET", None: "not judged"}
    findings = [f"{each['demand']}: {words[each['is_met']]} ({each['measured']})" for each in one["findings"]]
    printing.facts(
        one,
        [
            ("drill", one["id"]),
            ("check", f"{one['check']} of {one['about']}"),
            ("lost", _lost(one)),
            ("by", "Farsite" if one["is_injected"] else one["asked_by"]),
            ("rules", one["rules"]),
            ("state", one["state"]),
            ("outcome", one["outcome"]),
            ("now", one["instruction"]),
            ("findings", "\n".join(findings)),
            (
                "seen",
                "\n".join(f"{printing.when(each['at'])}  {each['what']}" for each in one["observations"]),
            ),
        ],
        output,
    )
