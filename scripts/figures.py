"""The paper's figures."""

import pandas as pd

from iliopsoas import figures, files, logs
from iliopsoas.stages import analysis

if __name__ == "__main__":  # worker processes import this file
    with logs.to_file(snakemake.log[0]):
        folder, results = snakemake.params.folder, snakemake.params.results
        path = snakemake.input.get("validation")
        folds = files.read_tsv(path) if path else None
        sample = analysis.sampled(files.read_tsv(snakemake.input.sample))
        volumes = analysis.accepted(
            files.read_tsv(snakemake.input.volumes), files.read_tsv(snakemake.input.excluded)
        )
        manifests = pd.concat([files.read_tsv(manifest) for manifest in snakemake.input.manifests])
        figures.draw_all(
            {name: files.read_tsv(snakemake.input[name]) for name in snakemake.params.tables},
            volumes,
            sample,
            folds,
            folder,
            **snakemake.params.visits,
            dpi=snakemake.params.dpi,
            examples=analysis.overlays(snakemake.input.get("examples", [])),
        )
        for name, drawing in {
            "figure1": analysis.figure1(folds, manifests, results=results),
            "figure3": analysis.figure3(
                volumes, sample, results=results, instance=snakemake.params.visits["instance"]
            ),
            "figureS1": analysis.figure_s1(volumes, results=results),
        }.items():
            figures.save(drawing, folder, name, snakemake.params.dpi)
