package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"strings"
	"syscall"

	"promostore/builder"
	"promostore/cmd/internal/program"
	"promostore/format/generation"
	"promostore/internal/objects"
	"promostore/updater"
)

// explain adds to an error of builder.Build or of its inputs that nothing was
// published, and the flags that help. rejects is the path of the rejects file, or
// empty.
func explain(ctx context.Context, err error, rejects string) error {
	var at *fs.PathError
	var bad *builder.BadRowsError
	var dup *builder.DuplicatesError
	var guard *builder.GuardError
	var content *builder.ContentError
	var delimiter *builder.DelimiterError
	var changed *builder.ChangedError
	hint := ""
	switch {
	case errors.As(err, new(*program.UsageError)):
		return err
	case interrupted(ctx, err):
		return fmt.Errorf("interrupted; nothing was published: %w", context.Cause(ctx))
	case errors.As(err, &delimiter) && delimiter.Preamble:
		hint = "Remove the first line, and use the delimiter of the input: sed 1d FILE | promobuild build " + delimiterFlag(delimiter.Found) + " -"
	case errors.As(err, &delimiter):
		hint = "Use the delimiter of the input: " + delimiterFlag(delimiter.Found)
	case hasRemedy(err):
	case errors.As(err, &bad):
		hint = "Correct the rows, or skip them: --max-bad-rows N --rejects FILE"
	case errors.As(err, &changed) && changed.ETag != "":
		hint = "Build again after its writer is done"
	case errors.As(err, &changed):
		hint = "Wait until the file is complete: --wait-quiet 30s"
	case errors.Is(err, builder.ErrUnterminated):
		hint = "Complete the file, or build it without --require-final-newline"
	case errors.As(err, &dup):
		hint = "Keep one row of each id: --duplicates=last or --duplicates=first"
	case errors.As(err, &guard):
		flag, value := guardFlag(guard)
		hint = "To accept the data set: " + flag + " " + strings.TrimSuffix(value, ",")
	case errors.As(err, &content) && content.Cause != nil:
		hint = "To publish it without a comparison, leave out --max-added, --max-removed and --max-changed"
	case errors.As(err, &content):
		hint = "To accept the data set: " + strings.Join(contentFlags(content), " ")
	case errors.Is(err, generation.ErrFuture):
		hint = "To publish it nevertheless: --force"
	case errors.Is(err, builder.ErrEmpty):
		hint = "To publish an empty data set: --allow-empty"
	case errors.Is(err, builder.ErrMemory):
		hint = "Use more memory: --memory SIZE"
	case errors.Is(err, objects.ErrDenied):
		hint = "Check the credentials, and the place of the bucket: --s3-endpoint URL --s3-region NAME"
	case errors.Is(err, syscall.ENOSPC) && errors.As(err, &at) && at.Path == rejects:
		hint = "Free space, or use another disk: --rejects FILE"
	case errors.Is(err, syscall.ENOSPC):
		hint = "Free space, or use another disk: --data DIR --tmp DIR"
	}
	if hint == "" {
		return fmt.Errorf("%w\nNothing was published", err)
	}
	return fmt.Errorf("%w\nNothing was published. %s", err, hint)
}

// hasRemedy reports whether err itself tells how to change the input.
func hasRemedy(err error) bool {
	return errors.As(err, new(*builder.KindError)) || errors.As(err, new(*builder.ColumnsError)) ||
		errors.Is(err, builder.ErrWindow) || errors.Is(err, builder.ErrExpansion)
}

// delimiterFlag returns the flag for this delimiter, as a shell reads it.
func delimiterFlag(c byte) string {
	text := string(c)
	switch {
	case c == '\t':
		text = `\t`
	case c < ' ':
		text = fmt.Sprintf(`\x%02x`, c)
	case c == '\'':
		return `--delimiter "'"`
	}
	return "--delimiter '" + text + "'"
}

// interrupted reports whether err is the error of ctx, which has ended.
func interrupted(ctx context.Context, err error) bool {
	return ctx.Err() != nil && (errors.Is(err, ctx.Err()) || errors.Is(err, context.Cause(ctx)))
}

// guardFlag returns the flag that accepts the data set, and its value in words.
func guardFlag(e *builder.GuardError) (flag, value string) {
	flag, value, other := "--max-shrink", fmt.Sprintf("%.1f", e.MaxShrink()), "more"
	if e.Live == 0 && e.Cause == nil {
		flag, value, other = "--min-records", fmt.Sprint(e.Records), "less"
	}
	if e.AtMost && e.Cause == nil {
		value += ", or " + other + " if rows repeat an id,"
	}
	return flag, value
}

// contentFlags returns the flags that accept the data set, with their values.
func contentFlags(e *builder.ContentError) (flags []string) {
	for _, x := range e.Excesses {
		flags = append(flags, fmt.Sprintf("--max-%s %.1f", x.Kind, x.Need))
	}
	return flags
}

// uploadHint returns the flag of the updater that accepts the data set that err
// rejects, or other advice.
func uploadHint(err error) updater.Hint {
	var guard *builder.GuardError
	var content *builder.ContentError
	var delimiter *builder.DelimiterError
	switch {
	case errors.As(err, &delimiter) && delimiter.Preamble:
		return updater.Hint{Flag: "--delimiter", Text: delimiterFlag(delimiter.Found) + " reads it without its first line"}
	case errors.As(err, &delimiter):
		return updater.Hint{Flag: "--delimiter", Text: delimiterFlag(delimiter.Found) + " reads it"}
	case hasRemedy(err):
		return updater.Hint{}
	case errors.Is(err, builder.ErrUnterminated):
		return updater.Hint{Flag: "--require-final-newline", Text: "send the whole file; --require-final-newline=false accepts it"}
	case errors.Is(err, builder.ErrEmpty):
		return updater.Hint{Flag: "--allow-empty", Text: "--allow-empty accepts it"}
	case errors.As(err, new(*builder.DuplicatesError)):
		return updater.Hint{Flag: "--duplicates", Text: "--duplicates=last or --duplicates=first accepts it"}
	case errors.As(err, &guard):
		flag, value := guardFlag(guard)
		return updater.Hint{Flag: flag, Text: flag + " " + value + " accepts it"}
	case errors.As(err, &content) && content.Cause != nil:
		return updater.Hint{Text: "promobuild build without --max-added, --max-removed and --max-changed publishes it without a comparison"}
	case errors.As(err, &content):
		return updater.Hint{Flag: "--max-" + content.Excesses[0].Kind, Text: "accept it with " + strings.Join(contentFlags(content), " ")}
	case errors.As(err, new(*updater.HostError)):
		return updater.Hint{Flag: "--allowed-host", Text: "--allowed-host NAME allows it"}
	case errors.As(err, new(*updater.TooLargeError)):
		return updater.Hint{Flag: "--max-upload", Text: "--max-upload sets the limit"}
	}
	return updater.Hint{}
}
