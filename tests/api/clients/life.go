// A client that openapi-generator made for Go understands a refusal and a list.
package main

import (
	"context"
	"fmt"
	"os"

	client "github.com/GIT_USER_ID/GIT_REPO_ID"
)

func check(condition bool, what string) {
	if !condition {
		panic(what)
	}
}

func main() {
	configuration := client.NewConfiguration()
	configuration.Servers = client.ServerConfigurations{{URL: os.Args[1]}}
	api := client.NewAPIClient(configuration)
	background := context.Background()

	wrong := *client.NewLoginRequest("lory", "a wrong password")
	refused, _, err := api.AccountsAPI.Login(background).LoginRequest(wrong).Execute()
	check(err == nil && refused.Header.Code == 1002 && refused.Data.AuthToken == nil, fmt.Sprint("1002: ", err))

	right := *client.NewLoginRequest("lory", os.Args[2])
	login, _, err := api.AccountsAPI.Login(background).LoginRequest(right).Execute()
	check(err == nil && login.Header.Code == 0, fmt.Sprint("login: ", err))
	signedIn := context.WithValue(background, client.ContextAccessToken, login.Data.GetAuthToken())

	wish := *client.NewCreateRequest(1, "mine")
	made, _, err := api.ProjectsAPI.CreateProject(signedIn).CreateRequest(wish).Execute()
	check(err == nil && made.Header.Code == 0, fmt.Sprint("create: ", err))
	page, _, err := api.ProjectsAPI.ListProjects(signedIn).ListRequest(*client.NewListRequest()).Execute()
	check(err == nil && page.Header.Total == 1, fmt.Sprint("list: ", err))
	check(page.Data.List[0].ProjectSecret == made.Data.GetProjectSecret(), "the listed secret")
}
