from alignai import AlignAI
from alignai.constants import ROLE_USER, ROLE_ASSISTANT
import openai

openai.api_key = os.environ.get("OPENAI_API_KEY")

# Initialize SDK
sdk = AlignAI(
    project_id="TEFSZ16",
    api_key="NIUaqth_TsuIQWox_TfD5sCEQ8PebffFjF76u7Vsl2o="
)

user_id = "d75d27cbff184b54917f7b921cd2afce"

# Identify a user
sdk.identify_user(
    user_id=user_id,
    email="sample-user@gmail.com",
    country_code="US",
)

# Open a session
session_id = uuid.uuid4().hex
assistant_id = "1d2bfd85babd4804aca1-656f5d91dfa"
sdk.open_session(
    session_id=session_id,
    user_id=user_id,
    assistant_id=assistant_id
)

# Send initial message
history = []
initial_message = "Hello, what can I do for u?"
history.append({"role": ROLE_ASSISTANT, "content": initial_message})
sdk.create_message(
    session_id=session_id,
    message_index=1,
    role=ROLE_ASSISTANT,
    content=initial_message
)

try:
    while True:
        # Get user input
        user_input = input("User: ")
        history.append({"role": ROLE_USER, "content": user_input})

        # Send user message
        sdk.create_message(
            session_id=session_id,
            message_index=len(history),
            role=ROLE_USER,
            content=user_input
        )

        # Get assistant response
        response = openai.ChatCompletion.create(
            model="gpt-3.5-turbo",
            messages=history
        )
        assistant_message = response.choices[0].message['content'].strip()
        history.append({"role": ROLE_ASSISTANT, "content": assistant_message})

        # Send assistant message
        sdk.create_message(
            session_id=session_id,
            message_index=len(history),
            role=ROLE_ASSISTANT,
            content=assistant_message
        )

        print("Assistant:", assistant_message)
finally:
    # Close the session
    sdk.close_session(
        session_id=session_id
    )

    # Flush the unsent events close the SDK.
    # If you don't close the SDK, you might lose remaining events in the buffer.
    sdk.close(timeout_seconds=5)
