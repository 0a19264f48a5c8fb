"""What several files of integration tests share: the guest with the service, which is dear to boot and to install."""

from collections.abc import Iterator

import pytest

from support.booted import Booted, copy_sources, wheelhouse
from support.service_guest import STATE, first_hour, make_shop, wait_until_whole


@pytest.fixture(scope="session")
def vm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Booted]:
    """A machine on which README's commands have been run, but for the last, and which has a second app."""
    with Booted(wheelhouse(tmp_path_factory.mktemp("wheels"))) as machine:
        copy_sources(machine.path("/srv/dynod"))
        first_hour(machine)
        make_shop(machine)
        yield machine
        print(f"the guest has taken {machine.cpu_s:.1f} s of CPU")


@pytest.fixture
def leaves_it_whole(vm: Booted) -> Iterator[None]:
    """Whichever test does not leave the machine as it was is the one that fails, and says how it is."""
    yield
    try:
        wait_until_whole(vm)
    except AssertionError:
        print(vm.run("systemctl", "status", "dynod.service", "dynod.socket", check=False).stdout)
        print(vm.run("ls", "-la", "/run/dynod", STATE, check=False).stdout)
        print(vm.said("dynod")[-8000:])
        raise
