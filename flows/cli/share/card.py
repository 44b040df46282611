"""The command `card`: a dataset's README.md and croissant.json."""

from pydantic import BaseModel

from nightrain.flows.cli.console import console, print_json
from nightrain.flows.cli.jobs import OutputOptions
from nightrain.flows.cli.options import command
from nightrain.pipelines.inspect.verify_job import DatasetOptions


class CardReport(BaseModel):
    """Files of a dataset card, and its configurations."""

    card: str
    croissant: str
    configs: dict[str, list[str]]  # tables of each, the default one first


@command
def card(job: DatasetOptions, output: OutputOptions) -> None:
    """Write a dataset's card, README.md, and its Croissant metadata, croissant.json.

    Commands that add or remove shards do so, too. With the card, Hugging Face's load_dataset reads
    the folder: by default all current variants, and by name each recipe's condition, the frames and
    the labels.
    """
    from nightrain.datasets.shards.manifest import Manifest
    from nightrain.pipelines.inspect.dataset_card import (
        CROISSANT,
        card_configs,
        config_names,
        write_card,
    )
    from nightrain.pipelines.inspect.verify_job import require_dataset

    require_dataset(job.dataset)
    path, manifest = write_card(job.dataset), Manifest(job.dataset)
    tables = {name: manifest.entries(name) for name in manifest.tables()}
    report = CardReport(
        card=str(path),
        croissant=str(path.with_name(CROISSANT)),
        configs=card_configs(tables, config_names(job.dataset, tables)),
    )
    if output.as_json:
        print_json(report)
        return
    out = console()
    out.print(f"wrote {report.card} and {report.croissant}", markup=False)
    for number, (name, of_config) in enumerate(report.configs.items()):
        default = " (default)" if number == 0 else ""
        out.print(f"  {name}{default}: {', '.join(of_config)}", markup=False)
