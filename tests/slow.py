"""What `make test-fast` leaves out, by measure: tests and first uses of fixtures that take half a second or more.

A file below tests/, and then `all` of it or the names of its tests without their `test_`.
"""

SLOW = """
test_actions:
    tokens_and_surrogates_are_the_same_in_another_process_and_another_order
test_advise:
    an_answer_takes_little_time_and_no_heavy_library more_memory_never_makes_what_fits_not_fit
    no_combination_breaks_it what_does_not_fit_says_what_would
test_audit:
    no_acknowledged_event_is_lost_by_a_kill no_flipped_byte_is_accepted
test_cli:
    doctor_says_what_a_report_needs_and_nothing_secret exit_codes_by_error_class
    history_verify_and_load_speak_json run_goes_on_to_the_approval_and_no_further_without_a_key
test_crypto:
    a_passphrase_opens_what_it_protects every_flipped_byte_of_a_key_file_is_noticed
test_demo: all
test_docs:
    examples_folder_own_domain examples_folder_quickstart examples_run the_site_builds_and_fetches_nothing
test_documents:
    same_records_same_bytes_in_another_process
test_flavor:
    an_alias_that_was_moved_by_hand another_loader_in_the_store_runs_in_mlflow_and_not_in_ours
    by_version_by_run_and_without_mlflows_loading from_the_embedded_database
    its_champion_on_a_machine_that_has_a_trust_file_only its_champion_through_mlflow_on_its_own_machine
    mlmodel_names_no_code_no_pickle_and_no_environment no_questions_no_answers
    nobody_to_trust_is_no_reason_to_load one_bit_in_the_store_and_nothing_is_served other_input_is_refused
    what_is_refused_stays_refused
test_flow:
    a_setting_asked_for_again_becomes_the_newest_again ctrl_c_is_recorded_and_the_step_goes_on
    killed_anywhere_the_same_calls_go_on
test_fuzzing: all
test_governance: all
test_gpus:
    ctrl_c_leaves_no_process out_of_memory_goes_on_with_smaller_micro_batches
    two_processes_learn_what_one_learns
test_hub: all
test_keys_remote:
    a_key_that_is_missing_or_of_another_kind_is_named signatures_are_those_of_a_local_key
    what_is_not_kms_is_a_fault_of_its_own
test_layers:
    nothing_heavy_is_imported_before_it_is_needed
test_leaks:
    a_control_that_learned_nothing_breaks_the_check a_scrubbed_model_is_at_chance_and_its_control_is_caught
    canaries_are_trained_on_and_in_no_count ids_of_planted_rows_are_not_the_users
    no_value_is_in_any_file_and_no_weights_of_the_control_stay rows_without_canaries_cannot_be_asked_for
    the_package_and_mlflow_name_the_check the_same_check_again_is_not_made_again
    the_same_check_from_nothing_gives_the_same what_was_not_scrubbed_is_refused_with_the_numbers
test_methods:
    a_project_continues_a_run_sealed_or_not going_on_ends_where_an_uninterrupted_run_ends
    learned_prompts_are_scored_and_generate_alone_as_in_a_batch watching_changes_nothing_of_training
    what_is_read_back_answers_as_what_was_trained
attacks/test_mlflow_places:
    no_place_but_the_projects_own_is_asked the_pages_change_nothing the_pages_fetch_nothing_from_elsewhere
    the_pages_show_the_files_of_the_copy_that_they_are_opened_on what_somebody_adds_is_named
test_oms:
    the_reference_tool_accepts_what_we_sign_and_we_do
test_predict:
    the_benchmark_measures_a_row_and_predicts_it
test_recognizers:
    random_values_are_found_in_any_sentence the_domains_planted_values_are_found_and_its_terms_are_left_alone
    values_of_a_kind_are_found_exactly_and_nothing_else
test_refusals:
    a_method_that_the_policy_does_not_name a_policy_never_applies_backwards
    low_recall_is_refused_and_its_files_are_removed mlflow_down_loses_nothing scores_that_do_not_suffice
    two_approvals_a_rejection_and_a_changed_mind what_cannot_be_recorded_does_not_happen who_may_decide_and_how
test_registry:
    a_real_server another_package_is_another_version cut_off_after_every_call cut_off_again_and_again
    database_made_by_several_processes_at_once every_governance_file_is_compared half_an_artifact_is_sent_again
    only_a_champion_gets_the_alias rollback_shows_the_version_that_was_replaced twice_changes_nothing
    ui_serves_the_embedded_database
test_report:
    no_kinds_and_many
test_resume:
    a_governed_projects_checkpoints_are_never_in_plain a_project_goes_on_from_a_finished_run
    another_machine_or_version_is_named kills_sigterms_full_disks_and_faults
    the_same_call_again_ends_where_an_uninterrupted_run_ends the_trials_notice_a_run_that_diverges
    three_steps_and_then_three_more_are_six
test_review:
    in_a_real_terminal options_that_do_not_go_together
    training_is_refused_until_a_review_of_these_rows_shows_the_bound
test_scrub:
    a_process_that_dies_is_told_and_what_was_done_stays actors_on_ray_write_the_same_bytes
    memory_does_not_grow_with_the_file other_work_is_not_gone_on_with
    planted_values_are_in_no_file_that_the_step_writes two_processes_write_the_same_bytes_as_one
    what_was_done_before_a_kill_is_not_done_again
test_scrub_engine:
    a_spacy_pipeline_of_a_folder_finds_names finds_are_those_of_presidios_analyzer_on_the_same_registry
    no_shipped_pattern_can_be_made_to_run_away the_gate_keeps_every_match_of_fuzzed_texts
    the_gate_keeps_every_match_of_long_texts
test_scrub_report:
    no_value_stands_in_the_report_or_the_ledger
test_seal:
    added_files_and_twins_are_refused even_signed_contradictions_are_refused
    every_flipped_byte_of_every_file_is_refused malformed_weights_are_not_sealed
test_secrets:
    marked_values_are_nowhere_after_the_whole_way no_row_is_in_what_training_writes
    the_domains_planted_values_are_not_in_the_project
test_server: all
test_shapes:
    counts_are_those_of_the_real_model_and_the_real_adapter what_the_hub_cannot_give_is_said
test_shipped:
    the_wheel_holds_code_base_policies_and_domains the_wheel_runs_elsewhere
test_tagger:
    another_process_with_more_threads_finds_the_same
test_tamper: all
test_tampering: all
test_trial: all
test_ui: all
test_verify_release:
    both_say_the_same_of_odd_decisions_that_are_rightly_signed both_say_the_same_of_what_was_signed
    the_page_stops_where_a_byte_was_altered
test_watch:
    a_run_that_was_killed_and_went_on_is_one_run_that_register_completes
    a_server_that_goes_and_comes_back_misses_nothing every_value_is_sent_once_however_the_spool_changes
    without_a_server_training_goes_on_and_register_brings_the_figures
attacks/test_weaker_rules:
    a_looser_policy_that_the_owner_put_in_force_is_told
attacks/test_which_project: all
"""


def slow() -> dict[str, set[str]]:
    """File -> its slow tests; empty where all are."""
    found: dict[str, set[str]] = {}
    for word in SLOW.split():
        if word.endswith(":"):
            file = word.removesuffix(":")
            found[file] = set()
        elif word != "all":
            found[file].add(f"test_{word}")
    return found
