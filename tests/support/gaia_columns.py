"""The columns of the two archive tables, in the archive's order, with datatype and unit (Gaia DR3
data model).
"""

from __future__ import annotations

from xpscale.release import DR3, Release

__all__ = ["GAIA_SOURCE_COLUMNS", "XP_COLUMNS", "ecsv_head"]

GAIA_SOURCE = """
solution_id:int64 designation:string source_id:int64 random_index:int64 ref_epoch:float64:yr
ra:float64:deg ra_error:float32:mas dec:float64:deg dec_error:float32:mas parallax:float64:mas
parallax_error:float32:mas parallax_over_error:float32 pm:float32:mas.yr**-1 pmra:float64:mas.yr**-1
pmra_error:float32:mas.yr**-1 pmdec:float64:mas.yr**-1 pmdec_error:float32:mas.yr**-1
ra_dec_corr:float32 ra_parallax_corr:float32 ra_pmra_corr:float32 ra_pmdec_corr:float32
dec_parallax_corr:float32 dec_pmra_corr:float32 dec_pmdec_corr:float32 parallax_pmra_corr:float32
parallax_pmdec_corr:float32 pmra_pmdec_corr:float32 astrometric_n_obs_al:int16
astrometric_n_obs_ac:int16 astrometric_n_good_obs_al:int16 astrometric_n_bad_obs_al:int16
astrometric_gof_al:float32 astrometric_chi2_al:float32 astrometric_excess_noise:float32:mas
astrometric_excess_noise_sig:float32 astrometric_params_solved:int8 astrometric_primary_flag:bool
nu_eff_used_in_astrometry:float32:um**-1 pseudocolour:float32:um**-1
pseudocolour_error:float32:um**-1 ra_pseudocolour_corr:float32 dec_pseudocolour_corr:float32
parallax_pseudocolour_corr:float32 pmra_pseudocolour_corr:float32 pmdec_pseudocolour_corr:float32
astrometric_matched_transits:int16 visibility_periods_used:int16 astrometric_sigma5d_max:float32:mas
matched_transits:int16 new_matched_transits:int16 matched_transits_removed:int16
ipd_gof_harmonic_amplitude:float32 ipd_gof_harmonic_phase:float32:deg ipd_frac_multi_peak:int8
ipd_frac_odd_win:int8 ruwe:float32 scan_direction_strength_k1:float32
scan_direction_strength_k2:float32 scan_direction_strength_k3:float32
scan_direction_strength_k4:float32 scan_direction_mean_k1:float32:deg
scan_direction_mean_k2:float32:deg scan_direction_mean_k3:float32:deg scan_direction_mean_k4:float32
duplicated_source:bool phot_g_n_obs:int16 phot_g_mean_flux:float64:'electron'.s**-1
phot_g_mean_flux_error:float32:'electron'.s**-1 phot_g_mean_flux_over_error:float32
phot_g_mean_mag:float32:mag phot_bp_n_obs:int16 phot_bp_mean_flux:float64:'electron'.s**-1
phot_bp_mean_flux_error:float32:'electron'.s**-1 phot_bp_mean_flux_over_error:float32
phot_bp_mean_mag:float32:mag phot_rp_n_obs:int16 phot_rp_mean_flux:float64:'electron'.s**-1
phot_rp_mean_flux_error:float32:'electron'.s**-1 phot_rp_mean_flux_over_error:float32
phot_rp_mean_mag:float32:mag phot_bp_rp_excess_factor:float32 phot_bp_n_contaminated_transits:int16
phot_bp_n_blended_transits:int16 phot_rp_n_contaminated_transits:int16
phot_rp_n_blended_transits:int16 phot_proc_mode:int8 bp_rp:float32 bp_g:float32:mag g_rp:float32:mag
radial_velocity:float32:km.s**-1 radial_velocity_error:float32:km.s**-1 rv_method_used:int8
rv_nb_transits:int16 rv_nb_deblended_transits:int16 rv_visibility_periods_used:int16
rv_expected_sig_to_noise:float32 rv_renormalised_gof:float32 rv_chisq_pvalue:float32
rv_time_duration:float32:d rv_amplitude_robust:float32:km.s**-1 rv_template_teff:float32:K
rv_template_logg:float32:log(cm.s**-2) rv_template_fe_h:float32:dex rv_atm_param_origin:int16
vbroad:float32:km.s**-1 vbroad_error:float32:km.s**-1 vbroad_nb_transits:int16 grvs_mag:float32:mag
grvs_mag_error:float32:mag grvs_mag_nb_transits:int16 rvs_spec_sig_to_noise:float32
phot_variable_flag:string l:float64:deg b:float64:deg ecl_lon:float64:deg ecl_lat:float64:deg
in_qso_candidates:bool in_galaxy_candidates:bool non_single_star:int16 has_xp_continuous:bool
has_xp_sampled:bool has_rvs:bool has_epoch_photometry:bool has_epoch_rv:bool has_mcmc_gspphot:bool
has_mcmc_msc:bool in_andromeda_survey:bool classprob_dsc_combmod_quasar:float32
classprob_dsc_combmod_galaxy:float32 classprob_dsc_combmod_star:float32 teff_gspphot:float32:K
teff_gspphot_lower:float32:K teff_gspphot_upper:float32 logg_gspphot:float32:log(cm.s**-2)
logg_gspphot_lower:float32:log(cm.s**-2) logg_gspphot_upper:float32:log(cm.s**-2)
mh_gspphot:float32:dex mh_gspphot_lower:float32:dex mh_gspphot_upper:float32:dex
distance_gspphot:float32:pc distance_gspphot_lower:float32:pc distance_gspphot_upper:float32:pc
azero_gspphot:float32:mag azero_gspphot_lower:float32:mag azero_gspphot_upper:float32:mag
ag_gspphot:float32:mag ag_gspphot_lower:float32:mag ag_gspphot_upper:float32:mag
ebpminrp_gspphot:float32:mag ebpminrp_gspphot_lower:float32:mag ebpminrp_gspphot_upper:float32:mag
libname_gspphot:string
"""

BAND = """
basis_function_id:int16 degrees_of_freedom:int16 n_parameters:int16 n_measurements:int16
n_rejected_measurements:int16 standard_deviation:float32 chi_squared:float32
coefficients:float64[null] coefficient_errors:float32[null] coefficient_correlations:float32[null]
n_relevant_bases:int16 relative_shrinking:float32
"""


def _columns(text: str, prefix: str = "") -> tuple[tuple[str, str, str], ...]:
    """Name, datatype and unit of the columns in a table above."""
    entries = (f"{prefix}{entry}:".split(":") for entry in text.split())
    return tuple((name, datatype, unit[0]) for name, datatype, *unit in entries)


GAIA_SOURCE_COLUMNS = _columns(GAIA_SOURCE)
"""Name, datatype, unit of the 152 columns of ``gaia_source``."""

XP_COLUMNS = (
    *_columns("source_id:int64 solution_id:int64"),
    *_columns(BAND, "bp_"),
    *_columns(BAND, "rp_"),
)
"""Name, datatype, unit of the 26 columns of ``xp_continuous_mean_spectrum``."""


def ecsv_head(
    table: str, columns: tuple[tuple[str, str, str], ...], release: Release = DR3
) -> bytes:
    """The ECSV 1.0 head of a bulk file: ``#`` lines of YAML, then the line of column names.

    Parameters
    ----------
    table
        Name of the table.
    columns
        Name in DR3, datatype and unit of each.
    release
        What it calls the columns.
    """
    columns = tuple((release.column(name), datatype, unit) for name, datatype, unit in columns)
    lines = [
        "%ECSV 1.0",
        "---",
        "delimiter: ','",
        "meta: !!omap",
        f"- RELEASE: {release}",
        f"- TABLE: {table}",
        "- DESCRIPTION: >",
        (
            "    Synthetic sources made by xpscale.testing.universe in the layout of the Gaia"
            " archive's bulk files."
        ),
        "- CITATION: >",
        "    How to cite and acknowledge Gaia: ",
        "    https://gea.esac.esa.int/archive/documentation/credits.html ",
        "datatype:",
    ]
    for name, datatype, unit in columns:
        array = [f"  subtype: '{datatype}' "] if datatype.endswith("[null]") else []
        lines += [
            "- ",
            f"  name: {name}",
            f"  datatype: {'string ' if array else datatype}",
            *array,
        ]
        lines += [f'  unit: "{unit}"' if "'" in unit else f"  unit: {unit}"] if unit else []
        lines += [f"  description: {name.replace('_', ' ')}", "  meta:", "    ucd: meta"]
    head = "".join(f"# {line}\n" for line in lines)
    return (head + ",".join(name for name, _, _ in columns) + "\n").encode()
