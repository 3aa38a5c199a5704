# shellcheck shell=bash
# SPDX-License-Identifier: GPL-2.0-or-later
#
# bash completion for qcow2ctl. Commands and options are those that its --help tells.
# shellcheck disable=SC2207 # as is usual for COMPREPLY

_qcow2ctl()
{
	local cur prev words cword split
	_init_completion -s -n : || return
	local command=${words[1]} choices=

	if [[ $cword -eq 1 ]]; then
		choices=$(qcow2ctl --help 2>/dev/null | sed -nE 's/^  ([a-z0-9]+) .*/\1/p')
		COMPREPLY=($(compgen -W "$choices --help --version" -- "$cur"))
		return
	fi

	case $prev in
	--backing-dir | --temporary)
		_filedir -d
		return
		;;
	--key-file | --data-file)
		_filedir
		return
		;;
	-f | --format) choices="qcow2 raw" ;;
	--direct-io) choices="auto on off" ;;
	--discard) choices="unmap ignore" ;;
	--repair) choices="leaks all" ;;
	-o | --output)
		choices=$(qcow2ctl list --help | sed -n '/^Columns:/,/^$/p' | grep -oE '\b[A-Z][A-Z:]+\b')
		;;
	--cache-size | --load-snapshot | --device | --backing-format) return ;;
	esac
	if [[ -n $choices ]]; then
		COMPREPLY=($(compgen -W "$choices" -- "$cur"))
		__ltrim_colon_completions "$cur"
		return
	fi
	$split && return

	if [[ $cur == -* ]]; then
		COMPREPLY=($(compgen -W "$(qcow2ctl "$command" --help 2>/dev/null | _parse_help -)" \
			-- "$cur"))
		return
	fi
	if [[ $command == snapshot && $cword -eq 2 ]]; then
		COMPREPLY=($(compgen -W "list create apply delete" -- "$cur"))
		return
	fi
	[[ $command != set || $cword -ne 3 ]] || choices="cache-size="
	if [[ -n $choices ]]; then
		compopt -o nospace
	else
		[[ $command == monitor ]] && return
		choices=$(qcow2ctl list -n -o DEVICE 2>/dev/null)
		_filedir
	fi
	COMPREPLY+=($(compgen -W "$choices" -- "$cur"))
} &&
	complete -F _qcow2ctl qcow2ctl
