"""Which tests hold which section of docs/semantics.md; they run in their own modules."""

import ast
from pathlib import Path

HERE = Path(__file__).parent
DOCUMENT = HERE.parents[2] / "docs/semantics.md"

HELD_BY = {
    "The five tenets": "interop:test_back_and_forth "
    "consistency:test_what_one_closed_the_other_opens",
    "Listing a directory": "sentences:test_names_keep_the_order_of_the_store "
    "sentences:test_only_attributes_tell_whether_a_small_object_is_a_link "
    "sentences:test_the_link_count_of_a_directory_hides_no_subdirectory "
    "budgets:test_ls_is_list_and_nothing_else savings:test_a_walk_lists_what_is_below_at_once "
    "names:test_a_stream_survives_removal_of_what_it_has_told",
    "Looking at a file": "budgets:test_stat_of_a_name_not_cached "
    "savings:test_two_names_of_a_large_directory_cost_one_page "
    "budgets:test_ls_l_asks_for_attributes_in_parallel budgets:test_ls_l_again_after_the_ttl",
    "Opening and reading": "budgets:test_reading_a_small_file_just_listed "
    "savings:test_reading_files_of_a_directory_nobody_listed "
    "content_ttl:test_an_epoch_in_any_order_and_another "
    "savings:test_content_that_others_replace_between_stat_and_open "
    "budgets:test_streaming_downloads_each_byte_once read:test_random_reads "
    "consistency:test_a_reader_never_sees_two_versions_mixed "
    "versions:test_a_version_opened_beside_an_older_one",
    "Passthrough where files can be written": "passthrough:"
    "test_a_reader_keeps_what_it_opened_while_others_see_each_write "
    "passthrough:test_whatever_is_done_to_the_file_its_reader_keeps_the_bytes "
    "passthrough:test_a_file_that_is_written_is_read_through_the_mount "
    "passthrough:test_without_the_option_a_reader_sees_what_is_appended",
    "Creating and writing": "sentences:test_what_is_set_before_the_close_of_a_large_file_is_kept "
    "budgets:test_creating_a_small_file write:test_holes_read_as_zero "
    "write:test_readers_see_what_is_not_closed_yet consistency:test_two_creators_of_one_name",
    "Changing part of a file": "budgets:test_appending_to_a_large_object write:test_append "
    "budgets:test_editing_in_the_middle_of_a_large_object",
    "Closing and syncing": "write:test_fsync_makes_it_an_object_before_close "
    "faults:test_what_could_not_be_uploaded_is_reported_kept_and_sent_later "
    "write:test_mapped_memory_is_written_and_read",
    "Truncating and allocating": "sentences:test_truncating_a_closed_file_stores_it "
    "write:test_truncate write:test_fallocate_extends_with_zeros "
    "write:test_fallocate_keeps_size_and_punches_holes write:test_an_object_has_no_holes "
    "sparse:test_zeroing_beyond_the_end_of_a_stored_file "
    "sparse:test_what_no_upload_could_hold_is_refused",
    "Renaming": "rename:test_a_rename_changes_ctime_and_nothing_else "
    "sentences:test_exchanging_two_names_is_refused "
    "rename:test_an_open_file_follows_its_name "
    "budgets:test_rename_of_a_known_file rename:test_errnos "
    "rename:test_a_directory_moves_with_all_below_it rename:test_noreplace_never_replaces",
    "Removing": "budgets:test_rm_rf "
    "budgets:test_mkdir_rmdir_unlink remove:test_a_removed_file_reads_on_while_open",
    "Mode, owner and times": "sentences:test_without_attributes_none_are_stored_or_asked_for "
    "attributes:test_new_files_belong_to_their_maker "
    "attributes:test_chmod attributes:test_utimens "
    "attributes:test_attributes_of_an_implied_directory budgets:test_chmod_of_a_known_file "
    "root:test_attributes_of_the_root_of_a_whole_bucket "
    "attributes:test_a_directory_changes_with_its_entries "
    "root:test_chown_of_all_from_the_root_on",
    "Extended attributes": "attributes:test_a_default_acl_is_refused "
    "attributes:test_errnos_of_extended_attributes "
    "attributes:test_extended_attributes",
    "Links and special files": "remove:test_symlink remove:test_no_hard_links "
    "attributes:test_device_nodes_are_refused_or_stored tools:test_file_locks_within_the_mount",
    "Space": "attributes:test_statfs_lets_programs_go_on",
    "Names that are keys": "names:test_a_name_that_is_not_utf8_is_kept_or_refused "
    "names:test_any_name_written_is_that_key "
    "names:test_names_and_keys_have_a_longest_length names:test_no_call_takes_a_name_of_256_bytes",
    "Keys that can't be shown": "sentences:test_hidden_keys_are_told_once "
    "names:test_keys_that_are_no_paths_harm_nobody "
    "names:test_a_key_that_is_file_and_directory interop:test_directory_markers_of_other_tools "
    "markers:test_a_directory_in_another_form",
    "Metadata of others": "attributes:test_content_type_follows_the_suffix "
    "interop:test_attributes_of_other_tools",
    "Trust and its end": "consistency:test_names_of_others_appear_after_the_ttl "
    "versions:test_what_others_wrote_is_seen_by_name_while_the_file_is_open "
    "versions:test_tail_follows_a_file_that_others_write "
    "sharing:test_a_name_that_another_pod_made_after_the_listing "
    "sharing:test_what_a_search_along_a_path_costs "
    "sharing:test_opening_to_create_finds_the_file_of_another_pod "
    "consistency:test_our_own_changes_are_seen_at_once",
    "Two writers": "consistency:test_two_appenders_in_two_mounts "
    "consistency:test_the_loser_of_two_writers_is_told_and_its_bytes_are_kept "
    "consistency:test_overwrite_mode_lets_the_last_one_win",
    "Stores without conditions": "consistency:test_a_store_without_preconditions",
    "The store is away": "sentences:test_in_a_long_outage_calls_fail_soon "
    "faults:test_a_write_survives_a_passing_fault "
    "faults:test_a_short_outage_is_waited_for "
    "faults:test_a_bad_byte_in_a_checksummed_answer_is_noticed",
    "A request arrives late": "survival/late_requests:test_what_was_removed_does_not_come_back "
    "survival/late_requests:test_nothing_comes_back_at_the_end "
    "survival/late_requests:test_a_directory_may_be_moved_back "
    "survival/late_requests:test_a_late_delete_spares_the_next_file_of_the_name",
    "Credentials end": "credentials:test_new_credentials_are_taken_up_in_the_middle_of_an_upload "
    "credentials:test_without_new_credentials_it_is_an_error",
    "The disk is full": "full_disk:test_a_full_disk_and_no_store space:test_writing_more_than_fits",
    "The power fails": "power:test_what_was_being_written_never_replaces_the_object "
    "power:test_what_a_failed_commit_left_is_uploaded",
    "The process ends": "lifecycle:test_sigterm_without_a_store_keeps_the_data "
    "lifecycle:test_sigterm_uploads_what_is_dirty "
    "lifecycle:test_what_was_dirty_when_it_was_killed_is_uploaded_by_the_next",
}


def test_every_section_is_held_by_tests() -> None:
    """No heading without an entry, no entry without a heading."""
    lines = DOCUMENT.read_text(encoding="utf-8").splitlines()
    assert {line[3:] for line in lines if line.startswith("## ")} == set(HELD_BY)


def test_the_tests_that_hold_them_exist() -> None:
    """Each entry names a test function of a module here, or in a directory beside this one."""
    for heading, tests in HELD_BY.items():
        for named in tests.split():
            path, name = named.split(":")
            folder, _, module = path.rpartition("/")
            where = HERE.parent / folder if folder else HERE
            tree = ast.parse((where / f"test_{module}.py").read_text(encoding="utf-8"))
            functions = {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}
            assert name in functions, f"{heading}: {named}"
