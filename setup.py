"""setup.cfg says everything but this: the recipes of ``configs/`` are in a wheel, as ``st_reid/recipes/``."""

from pathlib import Path

from setuptools import Command, setup
from setuptools.command.build import build


class BuildRecipes(Command):
    """A step of the build; in an editable installation there is nothing to do, it reads ``configs/`` itself."""

    user_options = []  # noqa: RUF012 - as setuptools wants it, and so the methods below

    def initialize_options(self):
        self.build_lib = None
        self.editable_mode = False

    def finalize_options(self):
        self.set_undefined_options("build_py", ("build_lib", "build_lib"))

    def run(self):
        for target, source in {} if self.editable_mode else self.get_output_mapping().items():
            self.mkpath(str(Path(target).parent))
            self.copy_file(source, target)

    def get_output_mapping(self):
        target, source = Path(self.build_lib, "st_reid", "recipes"), Path("configs")
        return {str(target / file.relative_to(source)): str(file) for file in sorted(source.rglob("*.yaml"))}

    def get_outputs(self):
        return list(self.get_output_mapping())

    def get_source_files(self):
        return list(self.get_output_mapping().values())


class Build(build):
    """The usual steps, and the recipes."""

    sub_commands = [*build.sub_commands, ("build_recipes", None)]  # noqa: RUF012


setup(cmdclass={"build": Build, "build_recipes": BuildRecipes})
