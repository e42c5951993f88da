// A client that openapi-generator made for Java understands a refusal and a list.
import org.openapitools.client.ApiClient;
import org.openapitools.client.api.AccountsApi;
import org.openapitools.client.api.ProjectsApi;
import org.openapitools.client.model.CreateRequest;
import org.openapitools.client.model.KeyAndSecret;
import org.openapitools.client.model.ListRequest;
import org.openapitools.client.model.LoginReply;
import org.openapitools.client.model.LoginRequest;
import org.openapitools.client.model.Project;
import org.openapitools.client.model.ProjectPageReply;

public class Life {
  static void check(boolean condition, Object what) {
    if (!condition) throw new IllegalStateException(what.toString());
  }

  public static void main(String[] arguments) throws Exception {
    ApiClient client = new ApiClient();
    client.updateBaseUri(arguments[0]);
    LoginRequest login = new LoginRequest().userName("lory").password("a wrong password");
    LoginReply refused = new AccountsApi(client).login(login);
    check(refused.getHeader().getCode() == 1002, refused);
    check(refused.getData().getAuthToken() == null, refused);

    LoginReply in = new AccountsApi(client).login(login.password(arguments[1]));
    check(in.getHeader().getCode() == 0, in);
    String token = "Bearer " + in.getData().getAuthToken();
    client.setRequestInterceptor(request -> request.header("Authorization", token));
    ProjectsApi projects = new ProjectsApi(client);
    CreateRequest wish = new CreateRequest().projectType(1).projectName("mine");
    KeyAndSecret made = projects.createProject(wish).getData();
    ProjectPageReply page = projects.listProjects(new ListRequest());
    check(page.getHeader().getTotal() == 1, page);
    Project project = page.getData().getList().get(0);
    check(project.getProjectSecret().equals(made.getProjectSecret()), page);
  }
}
