"""``hilnas bundles``: evidence fetched; checked without a server, and measured again where a board is named."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import Annotated

import typer

from hilnas.cli.completions import names_of
from hilnas.cli.exit_status import ExitStatus
from hilnas.cli.models.again import Again, Remeasured, measure_again
from hilnas.cli.models.model_files import fetch_bundle
from hilnas.cli.options import CandidateArgument, JsonOption, ServerOption, TokenOption, connect, print_file
from hilnas.cli.runner import new_app
from hilnas.cli.working import busy
from hilnas.client.errors import HilnasError
from server.shipping.bundle.archive import BundleError
from server.shipping.bundle.signing import PINS_FILE, SigningKeyError, named_fingerprint, pin, pinned
from server.shipping.bundle.verifying import Signer, VerifiedBundle, verify_bundle

app = new_app("Fetch evidence bundles; check them without a server; measure again.")


@app.command()
def download(
    candidate: CandidateArgument,
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="File or folder to write to [the file's own name, here].")
    ] = None,
    as_json: JsonOption = False,
    server: ServerOption = None,
    token: TokenOption = None,
) -> None:
    """Fetch the signed evidence behind a candidate: models, raw samples, circumstances, spec."""
    with connect(server, token) as nas:
        print_file(fetch_bundle(nas, candidate, out), as_json=as_json)


@app.command()
def verify(
    file: Annotated[Path, typer.Argument(metavar="BUNDLE", exists=True, dir_okay=False, help="The .zip file.")],
    key: Annotated[
        str | None,
        typer.Option(help="Who must have signed it: a fingerprint, sha256:..., or a file with the public key (PEM)."),
    ] = None,
    pin_it: Annotated[
        bool, typer.Option("--pin", help=f"Believe that key from now on ({PINS_FILE} in the home folder).")
    ] = False,
    on: Annotated[
        str | None,
        typer.Option(
            "--on",
            metavar="DEVICE_TYPE",
            help="Measure it again on such a board, and compare.",
            autocompletion=names_of("device-types"),
        ),
    ] = None,
    within_percent: Annotated[
        float, typer.Option(min=0, help="How far two measurements of one network may lie apart and count as the same.")
    ] = 3.0,
    as_json: JsonOption = False,
    server: ServerOption = None,
    token: TokenOption = None,
) -> None:
    """Check every byte of a bundle and its signature.

    The exit status is 0 where it is intact and its signer is known, 4 where it is intact and anybody may have signed
    it, 1 where it is not intact, or not the same when measured again, 6 where the two measurements are too noisy to
    be told apart or not.
    """
    if pin_it and key is None:
        raise HilnasError("--pin goes with --key")
    try:
        named = None if key is None else named_fingerprint(key)
        with busy(f"checking every byte of {file.name}"):
            found = verify_bundle(file, named=named, trusted=pinned())
        if pin_it and named is not None:
            pin(named)
    except (BundleError, SigningKeyError) as error:
        raise HilnasError(f"{file}: not intact: {error}" if isinstance(error, BundleError) else str(error)) from error
    compared = None
    if on is not None:
        with connect(server, token) as nas, tempfile.TemporaryDirectory() as folder:
            compared = measure_again(nas, file, found.manifest, on, within_percent, Path(folder))
    _print(found, compared, as_json)
    if compared is not None and compared.verdict is not Again.SAME:
        told = compared.verdict is Again.NOT_THE_SAME
        raise typer.Exit(ExitStatus.FAILED if told else ExitStatus.CANNOT_BE_TOLD)
    if found.signer is Signer.UNKNOWN:
        raise typer.Exit(ExitStatus.UNKNOWN_SIGNER)


def _print(found: VerifiedBundle, compared: Remeasured | None, as_json: bool) -> None:
    if as_json:
        document = {
            "intact": True,
            "signer": found.signer.value,
            "fingerprint": found.fingerprint,
            "subject": dict(found.manifest.subject),
            "files": len(found.manifest.files),
            "measured_again": None if compared is None else compared.document(),
        }
        typer.echo(json.dumps(document, allow_nan=False))
        return
    if found.signer is Signer.KNOWN:
        typer.echo(f"intact, signed by {found.fingerprint}")
    else:
        typer.echo(f"intact, signer unknown: {found.fingerprint}")
        typer.echo("  anybody may have made it: compare that with what the server printed at its start, then --key")
    subject = found.manifest.subject
    typer.echo(f"  {subject.get('model')}, {subject.get('weights')} weights, {len(found.manifest.files)} files")
    if compared is not None:
        typer.echo(compared.text())
