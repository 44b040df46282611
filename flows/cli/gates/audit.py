"""The command `audit-gates`: shows what the gates of a recipe reject."""

from nightrain.flows.cli.console import print_json
from nightrain.flows.cli.jobs import OutputOptions
from nightrain.flows.cli.options import command
from nightrain.pipelines.audit.job import AuditJob


@command
def audit_gates(job: AuditJob, output: OutputOptions) -> None:
    """Count good variants, and those with a seeded defect, that gates reject.

    Generates variants of evenly spaced clear frames, puts defects into them, and prints Markdown
    tables and the gates with the limits that were used, as entries for a recipe. Nothing is
    written.
    """
    import yaml

    from nightrain.pipelines.audit.job import audit_gates as audit
    from nightrain.pipelines.audit.report import report_lines

    report = audit(job)
    if output.as_json:
        print_json(report)
        return
    print("\n".join(report_lines(report)))
    print("\n```yaml\n" + yaml.safe_dump({"gates": report.gates}, sort_keys=False) + "```")
