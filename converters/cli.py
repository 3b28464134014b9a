"""The command line: ``mobilenets list | info | fetch | cache | convert | verify | export | predict | evaluate |
embed``.

Exit status: 0 for success, 1 where a verification fails, 2 for unusable input, with one sentence on standard error.
TensorFlow and Keras are imported by the commands that need them, so that ``--help`` answers at once.
"""

import click

from converters.commands.cache import cache_command
from converters.commands.console import Program
from converters.commands.convert import convert_command
from converters.commands.embed import embed_command
from converters.commands.evaluate import evaluate_command
from converters.commands.export import export_command
from converters.commands.fetch import fetch_command
from converters.commands.info import info_command, list_command
from converters.commands.predict import predict_command
from converters.commands.verify import verify_command

COMMANDS = (
    list_command,
    info_command,
    fetch_command,
    cache_command,
    convert_command,
    verify_command,
    export_command,
    predict_command,
    evaluate_command,
    embed_command,
)


@click.group(cls=Program, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(package_name="mobilenets")
def main():
    """Google's MobileNet V1, V2, V3 and Inception V2 in Keras 3: convert checkpoints and verify the result.

    \b
    Begin with
        mobilenets convert mobilenet_v2_035_96 -o model.keras
        mobilenets predict model.keras photo.jpg
    """


for command in COMMANDS:
    main.add_command(command)


if __name__ == "__main__":
    main(prog_name="mobilenets")
