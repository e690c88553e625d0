"""Files that many commands need, and the commands called as a user would."""

import pytest
from tiny import make_net, make_pictures

from edgecnn.cli import main


@pytest.fixture
def net(tmp_path):
    path = tmp_path / "net.ecnn"
    make_net(dropout=0.1).save(path)
    return path


@pytest.fixture
def onnx_net(tmp_path):
    path = tmp_path / "net.onnx"
    make_net().export_onnx(path)
    return path


@pytest.fixture
def named_net(tmp_path):
    """A network for the pictures' classes, in another order than the alphabet's."""
    path = tmp_path / "named.ecnn"
    make_net(2, ["right", "left"]).save(path)
    return path


@pytest.fixture
def pictures(tmp_path):
    return make_pictures(tmp_path / "pictures")


@pytest.fixture
def run(capsys):
    """Calls a command in this process; returns exit code, standard output, standard error."""
    def call(*args):
        with pytest.raises(SystemExit) as end:
            main([str(a) for a in args], prog_name="edgecnn")
        out, err = capsys.readouterr()
        return end.value.code, out, err
    return call


@pytest.fixture
def fails(run):
    """Calls a command that must end in one message; returns it."""
    def call(*args):
        code, _, err = run(*args)
        lines = [line for line in err.splitlines() if not line.startswith("edgecnn: warning: ")]
        assert code == 1 and lines[0].startswith("edgecnn: error: "), err
        assert all(line.startswith("  ") for line in lines[1:]), err
        assert "Traceback" not in err and "bug in edgecnn" not in err
        return err
    return call
