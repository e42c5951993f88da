// In place of the generated one, which needs the module that Debian does not have.
package org.openapitools.client;

public class RFC3339JavaTimeModule extends com.fasterxml.jackson.databind.module.SimpleModule {}
