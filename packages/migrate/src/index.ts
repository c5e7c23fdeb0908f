// The public door of @bcachefs-ts/migrate: another filesystem becomes bcachefs in place.

export { type BuildCounts, IMAGE_PATH } from './build.ts';
export { type FinishOptions, finishSteps } from './finish.ts';
export { migrateFinishCommand } from './finish-command.ts';
export { lookAtTree } from './look.ts';
export { LaidDevice, type Mark, markOf, withMark } from './mark.ts';
export { type Migrated, type MigratePhase, type MigrateRequest, migrateSteps, NotEqualError } from './migrate.ts';
export { type MigrationPlan, type MigrationRequest, planMigration } from './plan.ts';
export { type LostBlocks, planRollback, type RollbackPlan, rollBack, unmark } from './rollback.ts';
export { migrateRollbackCommand } from './rollback-command.ts';
export { migrateStartCommand } from './start-command.ts';
export { type MigrationState, migrationState } from './state.ts';
export { migrateStatusCommand } from './status-command.ts';
export { migrateSuperblockCommand } from './superblock-command.ts';
export { type FoundSuperblock, findBySector, usualPlacesSteps } from './usual-places.ts';
